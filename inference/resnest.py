"""The ResNeSt family of image classifiers (radix 2, one group), for inference and for training.

Zhang et al., "ResNeSt: Split-Attention Networks", arXiv:2004.08955. Module names follow the original release and
timm, so that their state dicts load as they are: ``conv1.0``, ``layer1.0.conv2.conv`` / ``bn0`` / ``fc1`` / ``bn1`` /
``fc2``, ``layer2.0.downsample.1``, ``fc``. Deep stem, average-pool downsampling in the shortcut (``avg_down``) and
after the split-attention convolution (``avd``, ``avd_first`` off) are always on, as in the published ResNeSt-50, 101,
200 and 269.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

EXPANSION: Final = 4
RADIX: Final = 2
REDUCTION: Final = 4


@dataclass(frozen=True)
class ResNeStShape:
    """What distinguishes one ResNeSt from another.

    ``blocks`` is the number of bottlenecks in each of the four stages, ``stem_width`` the channels of the first
    convolution (the stem ends with twice as many), ``width`` the bottleneck channels of the first stage, doubled in
    each later one.
    """

    blocks: tuple[int, int, int, int]
    stem_width: int
    width: int


RESNEST101: Final = ResNeStShape(blocks=(3, 4, 23, 3), stem_width=64, width=64)


class SplitAttention(nn.Module):
    """A 3×3 convolution into two splits, blended per channel by attention over their pooled sum.

    Input and output are (N, channels, H, W); the stride is always 1 here.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        attention = max(channels * RADIX // REDUCTION, 32)
        self.conv = nn.Conv2d(channels, channels * RADIX, 3, padding=1, groups=RADIX, bias=False)
        self.bn0 = nn.BatchNorm2d(channels * RADIX)
        self.fc1 = nn.Conv2d(channels, attention, 1)
        self.bn1 = nn.BatchNorm2d(attention)
        self.fc2 = nn.Conv2d(attention, channels * RADIX, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn0(self.conv(x)))
        n, _, h, w = x.shape
        splits = x.view(n, RADIX, -1, h, w)
        pooled = splits.sum(dim=1).mean(dim=(2, 3), keepdim=True)
        attention = self.fc2(torch.relu(self.bn1(self.fc1(pooled))))
        weights = torch.softmax(attention.view(n, RADIX, -1, 1, 1), dim=1)
        return (splits * weights).sum(dim=1)


class Bottleneck(nn.Module):
    """1×1 convolution, split attention, average pooling where the stage shrinks, 1×1 convolution, shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = SplitAttention(width)
        self.avd_last = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.avd_last(self.conv2(out))
        out = self.bn3(self.conv3(out))
        return torch.relu(out + self.downsample(x))


class ResNeSt(nn.Module):
    """A ResNeSt classifier: (N, 3, H, W) normalised RGB in, (N, classes) logits out."""

    def __init__(self, shape: ResNeStShape, classes: int) -> None:
        super().__init__()
        stem = shape.stem_width
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.Conv2d(stem, stem * 2, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(stem * 2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = stem * 2
        stages: list[nn.Sequential] = []
        for stage, blocks in enumerate(shape.blocks):
            width = shape.width * 2**stage
            layers: list[nn.Module] = []
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, stride=2 if stage > 0 and block == 0 else 1))
                inputs = width * EXPANSION
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
