"""The networks of `subband bench` in PyTorch, with the structure, names and shapes of the Rust side."""
import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def projection(inputs, outputs, stride):
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x):
        side = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += side
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """Stages of basic blocks behind a stem; returns the logits and the stages' outputs with the pooled vector."""

    def __init__(self, stem, width, widths, blocks, classes):
        super().__init__()
        self.conv1, self.bn1 = stem, nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if stem.kernel_size == (7, 7) else nn.Identity()
        for stage, outputs in enumerate(widths, 1):
            layers = []
            for block in range(blocks):
                layers.append(BasicBlock(width, outputs, 2 if block == 0 and stage > 1 else 1))
                width = outputs
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.stages = len(widths)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        features = []
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
            features.append(x)
        pooled = x.mean((2, 3))
        return self.fc(pooled), [*features, pooled]


def cifar_resnet(depth, classes):
    return ResNet(conv(3, 16, 3), 16, (16, 32, 64), (depth - 2) // 6, classes)


def resnet18(classes):
    return ResNet(conv(3, 64, 7, 2), 64, (64, 128, 256, 512), 2, classes)


class PreActivationBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        self.convShortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        active = F.relu(self.bn1(x), inplace=True)
        y = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        return (x if self.convShortcut is None else self.convShortcut(active)) + y


class WideResNet(nn.Module):
    def __init__(self, depth, widen, classes):
        super().__init__()
        layers, width = [conv(3, 16, 3)], 16
        for stage, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for block in range((depth - 4) // 6):
                layers.append(PreActivationBlock(width, outputs, 2 if block == 0 and stage > 0 else 1))
                width = outputs
        self.layers, self.bn1, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x):
        pooled = F.relu(self.bn1(self.layers(x)), inplace=True).mean((2, 3))
        return self.fc(pooled), []


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        self.conv = nn.Sequential(
            conv(inputs, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True),
            conv(hidden, hidden, 3, stride, hidden), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True),
            conv(hidden, outputs, 1), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class CifarMobileNetV2(nn.Module):
    """Half width; the first convolution has stride 2, the second group of blocks stride 1."""

    GROUPS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes):
        super().__init__()
        layers, width = [conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(inplace=True)], 16
        for expansion, outputs, blocks, stride in self.GROUPS:
            for block in range(blocks):
                layers.append(InvertedResidual(width, outputs // 2, stride if block == 0 else 1, expansion))
                width = outputs // 2
        layers += [conv(width, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU(inplace=True)]
        self.layers, self.classifier = nn.Sequential(*layers), nn.Linear(1280, classes)

    def forward(self, x):
        return self.classifier(self.layers(x).mean((2, 3))), []


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        attended = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        x = x + self.proj(attended.transpose(1, 2).reshape(n, tokens, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """DeiT without distillation token: class token, learned positions, the class token's logits."""

    def __init__(self, classes, side=224, patch=16, width=192, depth=12, heads=3):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0]), []


NETWORKS = {
    "cifar-resnet20": lambda classes: cifar_resnet(20, classes),
    "cifar-resnet56": lambda classes: cifar_resnet(56, classes),
    "cifar-wrn-16-2": lambda classes: WideResNet(16, 2, classes),
    "cifar-mobilenetv2": CifarMobileNetV2,
    "resnet18": resnet18,
    "deit_tiny_patch16_224": VisionTransformer,
}
