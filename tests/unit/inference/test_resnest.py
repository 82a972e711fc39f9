from __future__ import annotations

import math

import pytest
import torch

from inference.resnest import RESNEST101, ResNeSt, ResNeStShape


def fill(model: ResNeSt) -> ResNeSt:
    """Give every tensor definite values that any implementation can be given too, batch-norm statistics included."""
    for number, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + number)
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif tensor.ndim == 1 and name.endswith("weight"):
            wave = 1 + 0.3 * wave
        elif tensor.ndim > 1:
            wave = wave / math.sqrt(tensor[0].numel())
        else:
            wave = 0.2 * wave
        tensor.copy_(wave.view(tensor.shape))
    return model


def test_logits_are_those_of_the_published_implementation() -> None:
    """The expected values are those of timm 1.0.31's ``resnest14d`` with the same weights and input."""
    model = fill(ResNeSt(ResNeStShape((1, 1, 1, 1), stem_width=32, width=64), classes=6)).eval()
    image = torch.sin(torch.arange(3 * 97 * 65, dtype=torch.float64) * 0.37).float().view(1, 3, 97, 65)
    with torch.inference_mode():
        logits = model(image)[0].tolist()
    expected = [
        -1.4779109954833984,
        5.346469879150391,
        6.9333295822143555,
        1.8007032871246338,
        -4.994704723358154,
        -6.817207336425781,
    ]
    assert logits == pytest.approx(expected, abs=1e-4)


def test_resnest101_has_the_published_number_of_parameters_and_key_names() -> None:
    with torch.device("meta"):
        model = ResNeSt(RESNEST101, classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 48_275_016
    keys = set(model.state_dict())
    assert {
        "conv1.0.weight",
        "conv1.6.weight",
        "bn1.running_mean",
        "layer1.0.conv2.conv.weight",
        "layer1.0.conv2.bn0.weight",
        "layer1.0.conv2.fc1.bias",
        "layer1.0.conv2.bn1.running_var",
        "layer1.0.conv2.fc2.weight",
        "layer2.0.downsample.1.weight",
        "layer2.0.downsample.2.num_batches_tracked",
        "layer3.22.bn3.bias",
        "fc.weight",
    } <= keys
