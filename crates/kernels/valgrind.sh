#!/usr/bin/env bash
# The kernels' tests under valgrind's memcheck: no read or write outside a buffer, no decision on a float that nobody
# wrote. Valgrind knows no AVX-512, so the AVX2 and the portable paths run. Needs `valgrind`; takes about seven minutes.
#
#   crates/kernels/valgrind.sh            all tests that are small enough
#   crates/kernels/valgrind.sh conv::     those whose name contains the given text
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(cargo test --release -p subband-kernels --lib --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
test -x "$binary"

# A few random shapes instead of thousands. Left out: a process that starts others, and buffers of 100 MB.
export SUBBAND_TEST_SHAPES="${SUBBAND_TEST_SHAPES:-200}" RAYON_NUM_THREADS=2
exec valgrind --tool=memcheck --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite \
    "$binary" --test-threads=1 --skip all_tests_pass_on_narrower_sets --skip tensors_survive_the_allocator_setting "$@"
