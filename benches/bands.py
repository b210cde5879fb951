"""The case of crates/spectral/benches/bands.rs in PyTorch, 2 threads: prints `case<TAB>median ms` and the peak memory.

`full transforms` is FreqKD's formula as its code computes it: complex transforms of both maps, shifted, masked, and one
inverse transform for each band. `half transforms` computes the same with what is known about real maps: half spectra, the
mask's Hermitian part, one inverse transform, and the high band as the rest.
"""
import statistics
import time

import environment

RUNS = 11
SHAPE = (1, 1024, 37, 46)


def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main():
    environment.ensure()
    import torch
    import torch.nn.functional as F

    h, w = SHAPE[2:]
    mask = torch.zeros(h, w)
    (rh, ch), (rw, cw) = ((max(1, int(n * 0.5 / 2)), n // 2) for n in (h, w))
    mask[ch - rh : ch + rh, cw - rw : cw + rw] = 1
    corner = torch.fft.ifftshift(mask)
    half = (corner + corner.flip(0, 1).roll((1, 1), (0, 1)))[:, : w // 2 + 1] / 2

    def normalise(x):
        return F.normalize(x - x.mean((2, 3), keepdim=True), dim=1)

    def full(x):
        z = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1))
        bands = (z * mask, z * (1 - mask))
        return [torch.fft.ifft2(torch.fft.ifftshift(b, dim=(-2, -1)), norm="ortho").real for b in bands]

    def real(x):
        low = torch.fft.irfft2(torch.fft.rfft2(x) * half, s=(h, w))
        return low, x - low

    def loss(split, s, t):
        with torch.no_grad():
            low_t, high_t = split(normalise(t))
        low, high = split(normalise(s))
        return F.mse_loss(low, low_t) + 0.1 * F.mse_loss(torch.log1p(high.abs()), torch.log1p(high_t.abs()))

    pairs = [(torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)) for _ in range(5)]
    values = [loss(split, *pairs[0]).item() for split in (full, real)]
    assert abs(values[0] / values[1] - 1) < 1e-4, values
    for name, split in (("full", full), ("half", real)):

        def run():
            for s, _ in pairs:
                s.grad = None
            sum(loss(split, s, t) for s, t in pairs).backward()

        case = f"FreqKD {name} transforms 5x1024x37x46 forward+backward"
        for s, _ in pairs:
            s.grad = None
        before = status("VmRSS")
        reset_peak()
        run()
        peak = status("VmHWM") - before
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(f"{case}\t{statistics.median(times) * 1e3:.2f}")
        print(f"{case} peak MiB\t{peak:.1f}", flush=True)


if __name__ == "__main__":
    main()
