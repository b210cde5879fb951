"""Times the Haar transform with an L1 loss, forward and backward, in PyTorch with pytorch_wavelets.

The counterpart of crates/spectral/benches/wavelet.rs; prints `case<TAB>shape<TAB>median<TAB>minimum` in milliseconds.
Without torch in the running Python it makes itself an environment; see environment.py.
"""
import environment

environment.ensure()

import torch
import torch.nn.functional as F
from pytorch_wavelets import DWTForward

SHAPES = [(8, 256, 64, 64), (8, 256, 80, 80), (8, 512, 28, 28)]
dwt = DWTForward(J=3, wave="haar", mode="zero")


def one_map(x):
    low, details = dwt(x)
    return low.abs().mean() + sum(d.abs().mean() for d in details)


def two_maps(x, y):
    low, details = dwt(x)
    with torch.no_grad():
        teacher_low, teacher_details = dwt(y)
    return F.l1_loss(low, teacher_low) + sum(F.l1_loss(a, b) for a, b in zip(details, teacher_details))


for shape in SHAPES:
    x = torch.randn(shape, requires_grad=True)
    y = torch.randn(shape)
    for case, loss in [("one map", lambda: one_map(x)), ("two maps", lambda: two_maps(x, y))]:
        environment.report(case, shape, x, loss)
