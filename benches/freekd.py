"""Times FreeKD's second stage, forward and backward, in PyTorch with pytorch_wavelets.

The counterpart of crates/distill/benches/freekd.rs: the same formulas on the same shapes, written out from the equations.
`masked` multiplies every band with each of the T masks, as the published equations stand; `masked by the mean` uses the
mean of the masks, which gives the same number. An argument limits the run to the cases that contain it.
"""
import resource
import sys

import environment

environment.ensure()

import torch
import torch.nn.functional as F
from pytorch_wavelets import DWTForward

SIZES = [(50, 84), (25, 42), (13, 21), (7, 11), (4, 6)]
CHANNELS, BATCH, TOKENS, LEVELS = 256, 2, 6, 3
dwt = DWTForward(J=LEVELS, wave="haar", mode="zero")
align = [torch.nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in SIZES]
prompts = [0.01 * torch.randn(LEVELS + 1, TOKENS, CHANNELS) for _ in SIZES]
student = [torch.randn(BATCH, CHANNELS, *size, requires_grad=True) for size in SIZES]
teacher = [torch.randn(BATCH, CHANNELS, *size) for size in SIZES]


def masks(prompt, detail):
    band = detail.sum(2)
    n, c, h, w = band.shape
    return (prompt @ band.reshape(n, c, h * w)).sigmoid().reshape(n, TOKENS, h, w)


def loss(compare):
    total = 0
    for s, t, conv, prompt in zip(student, teacher, align, prompts):
        with torch.no_grad():
            low_t, details_t = dwt(t)
        low_s, details_s = dwt(conv(s))
        for k, (a, b) in enumerate(zip(details_s, details_t)):
            total = total + compare(a, b, prompt[k + 1])
    return total


def by_token(a, b, prompt):
    mask = masks(prompt, b)[:, :, None, None]
    return F.l1_loss(a[:, None] * mask, b[:, None] * mask)


def by_mean(a, b, prompt):
    mask = masks(prompt, b).mean(1)[:, None, None]
    return (mask * (a - b).abs()).mean()


def plain(a, b, prompt):
    return F.l1_loss(a, b)


cases = {"masked": by_token, "masked by the mean": by_mean, "plain bands": plain}
for case, compare in cases.items():
    if all(part in case for part in sys.argv[1:]):
        environment.report(case, (BATCH, CHANNELS), student[0], lambda: loss(compare))
print(f"peak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB", file=sys.stderr)
