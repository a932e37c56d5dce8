"""The authors' network as plain functions of its original tensors: the reference for converted models."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


def convolution(weights: Weights, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    kernel = weights[f"{name}.weight"]
    bias = weights.get(f"{name}.bias")
    return F.conv2d(x, kernel, bias, stride=stride, padding=kernel.shape[2] // 2, groups=groups)


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def vgg(weights: Weights, name: str, x: Tensor) -> Tensor:
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        if block != (0, 2):
            x = F.max_pool2d(x, 2)
        for position in block:
            x = convolution(weights, f"{name}.convs.{position}", x).relu()
    return x


def resnet(weights: Weights, name: str, x: Tensor, blocks: tuple[int, ...], groups: int) -> list[Tensor]:
    """Outputs of res2 to res5. The stride is in the 3×3 convolution."""
    x = affine(weights, f"{name}.res1.bn1", convolution(weights, f"{name}.res1.conv1", x, stride=2)).relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    stages = []
    for stage, count in enumerate(blocks, start=2):
        for i in range(count):
            block = f"{name}.res{stage}.{i}"
            stride = 2 if i == 0 and stage > 2 else 1
            shortcut = x
            if i == 0:
                shortcut = convolution(weights, f"{block}.downsample.0", x, stride)
                shortcut = affine(weights, f"{block}.downsample.1", shortcut)
            y = affine(weights, f"{block}.bn1", convolution(weights, f"{block}.conv1", x)).relu()
            y = affine(
                weights, f"{block}.bn2", convolution(weights, f"{block}.conv2", y, stride, groups)
            ).relu()
            y = affine(weights, f"{block}.bn3", convolution(weights, f"{block}.conv3", y))
            x = (y + shortcut).relu()
        stages.append(x)
    return stages


def fpn(weights: Weights, name: str, x: Tensor, blocks: tuple[int, ...], groups: int) -> dict[str, Tensor]:
    """Maps p2 to p5. The lists of layers go from P5 to P2."""
    res2, res3, res4, res5 = resnet(weights, f"{name}.conv_body", x, blocks, groups)
    inner = convolution(weights, f"{name}.conv_top", res5)
    maps = {"p5": convolution(weights, f"{name}.posthoc_modules.0", inner)}
    for i, (level, stage) in enumerate((("p4", res4), ("p3", res3), ("p2", res2))):
        doubled = inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        inner = doubled + convolution(weights, f"{name}.topdown_lateral_modules.{i}.conv_lateral", stage)
        maps[level] = convolution(weights, f"{name}.posthoc_modules.{i + 1}", inner)
    return maps


def region_features(weights: Weights, name: str, regions: Tensor) -> Tensor:
    """The box head's second layer before its ReLU."""
    first, second = ("heads.0", "heads.3") if f"{name}.heads.0.weight" in weights else ("fc1", "fc2")
    return linear(weights, f"{name}.{second}", linear(weights, f"{name}.{first}", regions.flatten(1)).relu())


def delta(first: list[float], second: list[float]) -> list[float]:
    """dx, dy, dw, dh of the second box seen from the first, and dx, dy of the first seen from the second."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = (
        ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (first, second)
    )
    numbers = [(x2 - x1) / w1, (y2 - y1) / h1, math.log(w2 / w1), math.log(h2 / h1)]
    return [*numbers, (x1 - x2) / w2, (y1 - y2) / h2]


def spatial_numbers(s: list[float], o: list[float], height: float, width: float) -> list[float]:
    """The 28 numbers in the authors' order, without the +1 of their box sides: weights are the same."""
    u = [min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3])]
    numbers = delta(s, o) + delta(s, u) + delta(u, o)
    for x0, y0, x1, y1 in (s, o):
        area = (x1 - x0) * (y1 - y0) / (width * height)
        numbers += [x0 / width, y0 / height, x1 / width, y1 / height, area]
    return numbers


def predicate_logits(
    weights: Weights, s: Tensor, o: Tensor, p: Tensor, numbers: Tensor, row: int, spatial: bool
) -> Tensor:
    """Logits of one pair, background first, from its features, 28 numbers and row of the frequency table."""

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    hidden = leaky(linear(weights, "RelDN.prd_cls_feats.0", torch.cat([s, p, o])))
    hidden = leaky(linear(weights, "RelDN.prd_cls_feats.2", hidden))
    logits = linear(weights, "RelDN.prd_cls_scores", hidden)
    logits = logits + linear(weights, "RelDN.prd_sbj_scores", s) + linear(weights, "RelDN.prd_obj_scores", o)
    if spatial:
        hidden = leaky(linear(weights, "RelDN.spt_cls_feats.0", numbers))
        hidden = leaky(linear(weights, "RelDN.spt_cls_feats.2", hidden))
        logits = logits + linear(weights, "RelDN.spt_cls_scores", hidden)
    return logits + weights["RelDN.freq_bias.rel_baseline.weight"][row]
