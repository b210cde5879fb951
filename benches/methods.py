"""Times whole losses of frequency methods, forward and backward, in PyTorch: FreeKD, FreqKD and MonoAFKD's WFD.

The counterpart of crates/distill/benches/methods.rs; prints `case<TAB>shape<TAB>median<TAB>minimum<TAB>MiB` with times in
milliseconds and the growth of the peak resident memory. Each case runs in a process of its own. The formulas are those of
the released codes; `freekd, one mask` is the cheaper form of FreeKD's loss in which the mean over tokens is taken of the
masks instead of the products; `no adapter` leaves out its 1x1 convolution of the student.
"""
import subprocess
import sys

import environment

environment.ensure()

import torch
import torch.nn.functional as F
from pytorch_wavelets import DWTForward

# Batch, channels, height, width of every map.
FPN = [(2, 256, h, w) for h, w in ((50, 84), (25, 42), (13, 21), (7, 11), (4, 6))]
TOKENS = [(2, 1024, 37, 46)] * 5
MONO = [(4, 64, 96, 320), (4, 128, 48, 160), (4, 256, 24, 80), (4, 512, 12, 40)]
dwt = DWTForward(J=3, wave="haar", mode="zero")


def freekd(students, teachers, parts, one_mask):
    loss = 0
    for s, t, (conv, prompts) in zip(students, teachers, parts):
        _, student = dwt(conv(s) if conv else s)
        with torch.no_grad():
            _, teacher = dwt(t)
        for a, b, prompt in zip(student, teacher, prompts):
            with torch.no_grad():
                mask = torch.sigmoid(torch.einsum("tc,nchw->nthw", prompt, b.sum(2)))
            if one_mask:
                loss = loss + (mask.mean(1)[:, None, None] * (a - b).abs()).mean()
            else:
                m = mask[:, :, None, None]
                loss = loss + ((m * a[:, None]) - (m * b[:, None])).abs().mean()
    return loss


def freqkd(students, teachers):
    loss = 0
    for s, t in zip(students, teachers):
        low_s, high_s = split(standardise(s))
        with torch.no_grad():
            low_t, high_t = split(standardise(t))
        loss = loss + F.mse_loss(low_s, low_t)
        loss = loss + 0.1 * F.mse_loss(torch.log1p(high_s.abs()), torch.log1p(high_t.abs()))
    return loss


def standardise(x):
    return F.normalize(x - x.mean((2, 3), keepdim=True), dim=1)


def split(x, cutoff=0.5):
    h, w = x.shape[2:]
    rh, rw = max(1, int(h * cutoff / 2)), max(1, int(w * cutoff / 2))
    mask = torch.zeros(h, w)
    mask[h // 2 - rh : h // 2 + rh, w // 2 - rw : w // 2 + rw] = 1
    z = torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1))
    back = lambda z: torch.fft.ifft2(torch.fft.ifftshift(z, dim=(-2, -1)), norm="ortho").real
    return back(z * mask), back(z * (1 - mask))


def wfd(students, teachers):
    loss = 0
    for s, t in zip(students, teachers):
        low_s, high_s = dwt(s)
        with torch.no_grad():
            low_t, high_t = dwt(t)
        loss = loss + 0.7 * F.l1_loss(low_s, low_t)
        for a, b in zip(high_s, high_t):
            loss = loss + 0.3 * F.l1_loss(a.sum(2), b.sum(2))
    return loss


def case(name):
    shapes = {"freekd": FPN, "freqkd": TOKENS, "wfd": MONO}[name.split(",")[0]]
    students = [torch.randn(shape, requires_grad=True) for shape in shapes]
    teachers = [torch.randn(shape) for shape in shapes]
    if name.startswith("freekd"):
        adapter = lambda channels: None if "no adapter" in name else torch.nn.Conv2d(channels, channels, 1)
        parts = [(adapter(s[1]), 0.01 * torch.randn(3, 6, s[1])) for s in shapes]
        return lambda: freekd(students, teachers, parts, name.endswith("one mask")), students
    loss = freqkd if name == "freqkd" else wfd
    return lambda: loss(students, teachers), students


if len(sys.argv) > 1:
    loss, students = case(sys.argv[1])
    environment.report_memory(sys.argv[1], f"{len(students)} maps", students, loss)
else:
    for name in ("freekd", "freekd, one mask", "freekd, no adapter", "freekd, no adapter, one mask", "freqkd", "wfd"):
        subprocess.run([sys.executable, __file__, name], check=True)
