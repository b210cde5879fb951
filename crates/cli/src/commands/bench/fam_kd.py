"""FAM-KD (Pham et al. 2024, review form, details of the released code) for pairs whose maps have equal sizes."""


class LocalAttention(nn.Module):
    """Softmax over 3x3 neighbours for each channel by itself, with learned offsets of the keys."""

    def __init__(self, channels):
        super().__init__()
        self.query, self.key, self.value = (conv(channels, channels, 1) for _ in range(3))
        self.vertical = nn.Parameter(torch.randn(channels // 2, 1, 1, 3, 1))
        self.horizontal = nn.Parameter(torch.randn(channels // 2, 1, 1, 1, 3))

    def forward(self, x, y):
        def around(t):
            return F.pad(t, [1] * 4).unfold(2, 3, 1).unfold(3, 3, 1)

        first, second = around(self.key(x)).chunk(2, 1)
        keys = torch.cat((first + self.vertical, second + self.horizontal), 1).flatten(4)
        weights = torch.softmax(self.query(y).unsqueeze(-1) * keys, -1)
        return (weights * around(self.value(x)).flatten(4)).sum(-1)


class FrequencyAttention(nn.Module):
    """A learned filter per pair of channels and frequency, high-passed, beside a 1x1 convolution."""

    def __init__(self, inputs, outputs, side):
        super().__init__()
        self.filter = nn.Parameter(torch.rand(inputs, outputs, side, side, 2) / (inputs * outputs))
        self.local = nn.Conv2d(inputs, outputs, 1)
        self.gamma_global, self.gamma_local = nn.Parameter(torch.tensor([0.5])), nn.Parameter(torch.tensor([0.5]))
        center, radius = side // 2, side // 2 // 10
        mask = torch.ones(side, side)
        mask[center - radius:center + radius, center - radius:center + radius] = 0
        self.register_buffer("mask", torch.fft.ifftshift(mask))

    def forward(self, x):
        spectrum = torch.einsum("bihw,iohw->bohw", torch.fft.fft2(x, norm="ortho"), torch.view_as_complex(self.filter))
        filtered = torch.fft.ifft2(spectrum * self.mask, norm="ortho").real
        return self.gamma_global * filtered + self.gamma_local * self.local(x)


class Adapter(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(conv(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Level(nn.Module):
    """One level: the deeper feature is fused into the student's own; the filter's output is to equal the teacher's."""

    def __init__(self, channels, deeper, outputs, side):
        super().__init__()
        self.adapter = Adapter(deeper, channels) if deeper not in (None, channels) else nn.Identity()
        self.attention = LocalAttention(channels) if deeper else None
        self.fam, self.norm = FrequencyAttention(channels, outputs, side), nn.BatchNorm2d(outputs)

    def forward(self, x, deeper):
        if self.attention:
            x = self.attention(x, F.interpolate(self.adapter(deeper), size=x.shape[2:], mode="nearest"))
        return F.relu(self.norm(self.fam(x)), inplace=True), x


class FamKd(nn.Module):
    """The sum over the levels of the mean squared distance to the teacher's features."""

    def __init__(self, student, teacher):
        """Both: `(channels, side)` of each feature, shallow to deep."""
        super().__init__()
        deeper = [channels for channels, _ in student[1:]] + [None]
        levels = zip(student, deeper, teacher)
        self.levels = nn.ModuleList(Level(own, deep, outputs, side) for (own, side), deep, (outputs, _) in levels)

    def forward(self, student, teacher):
        loss, fused = 0, None
        for level, x, target in reversed(list(zip(self.levels, student, teacher))):
            x, target = (t if t.dim() == 4 else t[:, :, None, None] for t in (x, target))
            output, fused = level(x, fused)
            loss = loss + F.mse_loss(output, target)
        return loss
