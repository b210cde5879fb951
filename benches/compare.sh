#!/usr/bin/env bash
# Runs a benchmark and its PyTorch side in turns and prints the times side by side.
#
#   benches/compare.sh wavelet [ROUNDS]      # benches/wavelet.py against `cargo bench --bench wavelet`
#
# A time is the median over the rounds of each round's median, in milliseconds, two threads on both sides; memory is the
# largest growth of the peak, in MiB, where both sides print it. Every case of the Rust side is compared to the PyTorch
# case that its name starts with. PYTHON names a Python with torch.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?which benchmark: a file of crates/*/benches}
rounds=${2:-3}
source=$(ls crates/*/benches/"$name".rs) || exit 2
package=$(sed -n 's/^name = "\(.*\)"/\1/p' "${source%/benches/*}/Cargo.toml" | head -1)
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
cargo build --release -q -p "$package" --bench "$name"
for _ in $(seq "$rounds"); do
    cargo bench -q -p "$package" --bench "$name" | sed 's/^/rust\t/' >>"$rows"
    "${PYTHON:-python3}" "benches/$name.py" | sed 's/^/torch\t/' >>"$rows"
done
python3 - "$rows" <<'PY'
import collections, statistics, sys

times, memory = collections.defaultdict(list), collections.defaultdict(list)
for line in open(sys.argv[1]):
    side, case, *fields = line.rstrip("\n").split("\t")
    try:
        float(fields[0])
        fields.insert(0, "")  # the name of the case holds the shape
    except ValueError:
        pass
    times[side, case, fields[0]].append(float(fields[1]))
    if len(fields) > 3:
        memory[side, case, fields[0]].append(float(fields[3]))
header = f"{'case':34}{'shape':>16}{'PyTorch ms':>12}{'Subband ms':>12}{'ratio':>8}"
print(header + (f"{'PyTorch MiB':>13}{'Subband MiB':>13}" if memory else ""))
for (side, case, shape), ours in times.items():
    if side != "rust":
        continue
    match = [c for s, c, h in times if s == "torch" and h == shape and case.startswith(c)]
    if not match:
        continue
    best = max(match, key=len)
    theirs, ours = statistics.median(times["torch", best, shape]), statistics.median(ours)
    row = f"{case:34}{shape:>16}{theirs:12.1f}{ours:12.2f}{theirs / ours:8.1f}"
    if memory:
        row += f"{max(memory['torch', best, shape]):13.0f}{max(memory['rust', case, shape]):13.0f}"
    print(row)
PY
