"""The cases of crates/spectral/benches/fft.rs in PyTorch, 2 threads: prints `case<TAB>median ms`.

An argument keeps the cases whose names contain it.
"""
import statistics
import sys
import time

import environment

RUNS = 11


def report(name, run, only):
    if only and only not in name:
        return
    run()
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(f"{name}\t{statistics.median(times) * 1e3:.2f}", flush=True)


def freqkd_mask(torch, n, cutoff=0.5):
    r, c = max(1, int(n * cutoff / 2)), n // 2
    mask = torch.zeros(n, n)
    mask[c - r:c + r, c - r:c + r] = 1
    return mask


def transforms(torch, only):
    for shape in [(8, 512, 28, 28), (8, 256, 56, 56), (8, 256, 64, 64), (8, 256, 80, 80)]:
        name = "x".join(map(str, shape))
        x = torch.randn(*shape)
        report(f"rfft2 {name} forward", lambda: torch.fft.rfft2(x, norm="ortho"), only)
        leaf = x.clone().requires_grad_()

        def both():
            torch.fft.rfft2(leaf, norm="ortho").abs().mean().backward()
            leaf.grad = None

        report(f"rfft2 {name} forward+backward", both, only)
        mask = freqkd_mask(torch, shape[-1])

        def split():
            z = torch.fft.fftshift(torch.fft.fft2(leaf, norm="ortho"), dim=(-2, -1))
            parts = [torch.fft.ifft2(torch.fft.ifftshift(z * m, dim=(-2, -1)), norm="ortho").real for m in (mask, 1 - mask)]
            sum(p.square().mean() for p in parts).backward()
            leaf.grad = None

        report(f"low-high split {name} forward+backward", split, only)


def modules(torch, only):
    for b, cin, cout, n in [(64, 16, 16, 32), (64, 32, 32, 16), (64, 64, 64, 8), (32, 64, 64, 28)]:
        name = f"b{b} {cin}-{cout}@{n}"
        x = torch.randn(b, cin, n, n, requires_grad=True)
        k = (torch.complex(torch.rand(cin, cout, n, n), torch.rand(cin, cout, n, n)) / (cin * cout)).requires_grad_()
        conv = torch.nn.Conv2d(cin, cout, 1)
        c, r = n // 2, n // 2 // 10

        def fam():
            z = torch.einsum("bixy,ioxy->boxy", torch.fft.fft2(x, norm="ortho"), k)
            z = torch.fft.fftshift(z)
            mask = torch.ones_like(z)
            mask[..., c - r:c + r, c - r:c + r] = 0
            y = torch.fft.ifft2(torch.fft.ifftshift(z * mask), norm="ortho").real
            (0.5 * y + 0.5 * conv(x)).square().mean().backward()
            x.grad = k.grad = None
            conv.zero_grad()

        report(f"FAM {name} forward+backward", fam, only)
        q, key, value = (torch.randn(b, cin, n, n, requires_grad=True) for _ in range(3))
        rel_h = torch.randn(cin // 2, 1, 1, 3, 1, requires_grad=True)
        rel_w = torch.randn(cin // 2, 1, 1, 1, 3, requires_grad=True)

        def attention():
            around = [torch.nn.functional.pad(t, [1] * 4).unfold(2, 3, 1).unfold(3, 3, 1) for t in (key, value)]
            first, second = around[0].split(cin // 2, dim=1)
            keys = torch.cat((first + rel_h, second + rel_w), dim=1)
            weights = torch.softmax((q.unsqueeze(-1) * keys.reshape(b, cin, n, n, 9)), dim=-1)
            (weights * around[1].reshape(b, cin, n, n, 9)).sum(-1).square().mean().backward()
            q.grad = key.grad = value.grad = rel_h.grad = rel_w.grad = None

        report(f"local attention {name} forward+backward", attention, only)


def main():
    environment.ensure()
    import torch

    only = sys.argv[1] if len(sys.argv) > 1 else ""
    transforms(torch, only)
    modules(torch, only)


if __name__ == "__main__":
    main()
