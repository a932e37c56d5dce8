"""The published code's computation for a test image, with loops over inclusive boxes in float64.

Only the feature maps of the backbones come from the model. All later weights come from its state dict.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]


def slow_scale(size: tuple[int, int], min_size: int, max_size: int) -> float:
    scale = min_size / min(size)
    return max_size / max(size) if np.round(scale * max(size)) > max_size else scale


def slow_cell_anchors(stride: int, sizes: list[float], ratios: list[float]) -> list[Box]:
    """Inclusive anchors of the first cell, by size and then by ratio."""
    anchors = []
    center = (stride - 1) / 2
    for size in sizes:
        for ratio in ratios:
            w = np.round(math.sqrt(stride * stride / ratio))
            h = np.round(w * ratio)
            w, h = w * size / stride, h * size / stride
            half_w, half_h = (w - 1) / 2, (h - 1) / 2
            anchors.append((center - half_w, center - half_h, center + half_w, center + half_h))
    return anchors


def slow_decode(box: Box, deltas: Array, weights: tuple[float, ...]) -> Box:
    w, h = box[2] - box[0] + 1, box[3] - box[1] + 1
    x, y = box[0] + w / 2, box[1] + h / 2
    dx, dy, dw, dh = (d / weight for d, weight in zip(deltas, weights, strict=True))
    limit = math.log(1000 / 16)
    x, y = x + dx * w, y + dy * h
    w, h = w * math.exp(min(dw, limit)), h * math.exp(min(dh, limit))
    return (x - w / 2, y - h / 2, x + w / 2 - 1, y + h / 2 - 1)


def slow_clip(box: Box, height: float, width: float) -> Box:
    def inside(value: float, size: float) -> float:
        return min(max(value, 0), size - 1)

    return (inside(box[0], width), inside(box[1], height), inside(box[2], width), inside(box[3], height))


def slow_iou(a: Box, b: Box) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(w, 0) * max(h, 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return shared / (sum(areas) - shared)


def slow_suppress(boxes: list[Box], scores: list[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(slow_iou(boxes[i], boxes[k]) < threshold for k in kept):
            kept.append(i)
    return kept


def slow_level(box: Box, lowest: int, highest: int) -> int:
    side = math.sqrt((box[2] - box[0] + 1) * (box[3] - box[1] + 1))
    return min(max(math.floor(4 + math.log2(side / 224 + 1e-6)), lowest), highest)


def slow_roi_align(features: Array, box: Box, stride: int, sampling_ratio: int, bins: int = 7) -> Array:
    """(C, bins, bins): the mean of samples on a grid in each bin; a pixel's value is at its whole number."""
    x0, y0, x1, y1 = (c / stride for c in box)
    w, h = max(x1 - x0, 1), max(y1 - y0, 1)
    columns = sampling_ratio or math.ceil(w / bins)
    rows = sampling_ratio or math.ceil(h / bins)
    pooled = np.zeros((features.shape[0], bins, bins))
    for i in range(bins):
        for j in range(bins):
            for a in range(rows):
                for b in range(columns):
                    y = y0 + (i + (a + 0.5) / rows) * h / bins
                    x = x0 + (j + (b + 0.5) / columns) * w / bins
                    pooled[:, i, j] += slow_bilinear(features, y, x) / (rows * columns)
    return pooled


def slow_bilinear(features: Array, y: float, x: float) -> Array:
    height, width = features.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(features.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = features[:, top, left] * (1 - u) + features[:, top, right] * u
    lower = features[:, bottom, left] * (1 - u) + features[:, bottom, right] * u
    result: Array = upper * (1 - v) + lower * v
    return result


def slow_spatial(s: Box, o: Box, height: int, width: int) -> list[float]:
    """The 28 numbers of inclusive boxes in pixels of the image. Height and width are of the padded input."""
    u = (min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3]))

    def measures(box: Box) -> tuple[float, float, float, float]:
        w, h = box[2] - box[0] + 1, box[3] - box[1] + 1
        return box[0] + w / 2, box[1] + h / 2, w, h

    def delta(a: Box, b: Box) -> list[float]:
        (xa, ya, wa, ha), (xb, yb, wb, hb) = measures(a), measures(b)
        there = [(xa - xb) / wb, (ya - yb) / hb]
        return [*there, math.log(wa / wb), math.log(ha / hb), (xb - xa) / wa, (yb - ya) / ha]

    def position(box: Box) -> list[float]:
        _, _, w, h = measures(box)
        corners = [box[0] / width, box[1] / height, box[2] / width, box[3] / height]
        return [*corners, w * h / (width * height)]

    return delta(s, o) + delta(s, u) + delta(u, o) + position(s) + position(o)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    result: Array = powers / powers.sum()
    return result


@dataclass
class SlowPublished:
    """The computation for one image, in a model with an FPN or a single feature map.

    Attributes:
        model: PublishedRelDN.
        image: (3, H, W) as the mapper gives it.
        original: (height, width) of the image file.
        strides: strides of the maps that the RPN reads.
        sizes: sizes of the anchors on each of these maps.
        ratios: aspect ratios of the anchors.
        roi_maps: number of maps that regions are pooled from.
        padding: the sides of the network input are padded to a multiple of this number; 0: no padding.
        settings: numbers of the config.
    """

    model: Any
    image: torch.Tensor
    original: tuple[int, int]
    strides: list[int]
    sizes: list[list[float]]
    ratios: list[float]
    roi_maps: int
    padding: int
    settings: dict[str, Any]
    weights: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = {k: v.double().numpy() for k, v in self.model.state_dict().items()}
        means = torch.tensor(self.settings["mean"]).view(3, 1, 1)
        pixels = self.image - means
        height, width = pixels.shape[1:]
        down, right = (-height % self.padding, -width % self.padding) if self.padding else (0, 0)
        padded = torch.nn.functional.pad(pixels, (0, right, 0, down))[None]
        self.height, self.width = padded.shape[2:]
        with torch.no_grad():
            self.maps = [x[0].double().numpy() for x in self.model.backbone(padded).values()]
            self.relation_maps = [
                x[0].double().numpy() for x in self.model.relation_backbone(padded).values()
            ]
        self.scale = slow_scale(self.original, self.settings["min_size"], self.settings["max_size"])

    def linear(self, name: str, x: Array) -> Array:
        result: Array = self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]
        return result

    def proposals(self) -> list[Box]:
        found: list[tuple[float, Box]] = []
        head = "proposal_generator.rpn_head"
        for features, stride, sizes in zip(self.maps, self.strides, self.sizes, strict=True):
            hidden = np.maximum(self.convolve(f"{head}.conv", features), 0)
            logits = self.convolve(f"{head}.objectness_logits", hidden)
            deltas = self.convolve(f"{head}.anchor_deltas", hidden)
            candidates = []
            for a, anchor in enumerate(slow_cell_anchors(stride, sizes, self.ratios)):
                for y in range(features.shape[1]):
                    for x in range(features.shape[2]):
                        moved = tuple(c + stride * s for c, s in zip(anchor, (x, y, x, y), strict=True))
                        box = slow_decode(moved, deltas[4 * a : 4 * a + 4, y, x], (1, 1, 1, 1))
                        candidates.append((logits[a, y, x], slow_clip(box, self.height, self.width)))
            candidates.sort(key=lambda c: -c[0])
            candidates = candidates[: self.settings["pre_nms"]]
            boxes, scores = [c[1] for c in candidates], [c[0] for c in candidates]
            found += [candidates[i] for i in slow_suppress(boxes, scores, self.settings["rpn_nms"])]
        found.sort(key=lambda c: -c[0])
        return [box for _, box in found[: self.settings["post_nms"]]]

    def convolve(self, name: str, x: Array) -> Array:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        out: Array = torch.nn.functional.conv2d(
            torch.from_numpy(x)[None],
            torch.from_numpy(weight),
            torch.from_numpy(bias),
            padding=weight.shape[-1] // 2,
        )[0].numpy()
        return out

    def pool(self, maps: list[Array], region: Box) -> Array:
        lowest = int(math.log2(self.strides[0]))
        i = slow_level(region, lowest, lowest + self.roi_maps - 1) - lowest
        pooled = slow_roi_align(maps[i], region, self.strides[i], self.settings["sampling_ratio"])
        return pooled.reshape(-1)

    def fully_connected(self, head: str, pooled: Array) -> Array:
        """The second layer, before its ReLU."""
        return self.linear(f"{head}.fc2", np.maximum(self.linear(f"{head}.fc1", pooled), 0))

    def class_scores(self, region: Box) -> tuple[Array, Array]:
        hidden = np.maximum(self.fully_connected("roi_heads.box_head", self.pool(self.maps, region)), 0)
        probs = softmax(self.linear("roi_heads.box_predictor.cls_score", hidden))
        return probs[:-1], self.linear("roi_heads.box_predictor.bbox_pred", hidden)

    def region(self, box: Box) -> Box:
        return tuple(c * self.scale for c in box)  # type: ignore[return-value]

    def detections(self) -> list[tuple[float, int, Box]]:
        """(score, class, inclusive box in pixels of the image), best first."""
        candidates = []
        for proposal in self.proposals():
            scores, deltas = self.class_scores(proposal)
            at = tuple(c / self.scale for c in proposal)
            for c, score in enumerate(scores):
                box = slow_decode(at, deltas[4 * c : 4 * c + 4], (10, 10, 5, 5))
                # The padded network input, in pixels of the image.
                limits = self.height / self.scale, self.width / self.scale
                candidates.append((float(score), c, slow_clip(box, *limits)))
        threshold = self.settings["score"]
        while True:
            found = []
            for c in range(self.settings["classes"]):
                rows = [x for x in candidates if x[1] == c and x[0] > threshold]
                kept = slow_suppress([x[2] for x in rows], [x[0] for x in rows], self.settings["nms"])
                found += [rows[i] for i in kept]
            found = sorted(found, key=lambda x: -x[0])[: self.settings["detections"]]
            if self.pairs([x[2] for x in found]) or threshold < 1e-9:
                return found
            threshold -= 0.01

    def pairs(self, boxes: list[Box], given: bool = False) -> list[tuple[int, int]]:
        rows = range(len(boxes))
        if len(boxes) == 1 and not given:
            return [(0, 0)]  # the only detection is paired with itself
        filtered = self.settings["overlap_only"] and not given
        return [
            (i, j)
            for i in rows
            for j in rows
            if i != j and (not filtered or slow_iou(boxes[i], boxes[j]) > 0)
        ]

    def triplets(
        self, entities: list[tuple[float, int, Box]], given: bool = False
    ) -> dict[tuple[int, int, int], float]:
        """(subject row, object row, predicate) -> score."""
        boxes = [box for _, _, box in entities]
        name = "relation_head.pair_classifier"
        pooled = [self.pool(self.maps, self.region(box)) for box in boxes]
        subject = [self.fully_connected(f"{name}.subject_head", x) for x in pooled]
        object = [self.fully_connected(f"{name}.object_head", x) for x in pooled]
        found = {}
        for i, j in self.pairs(boxes, given):
            s, o = boxes[i], boxes[j]
            union = (min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3]))
            region = self.pool(self.relation_maps, self.region(union))
            predicate = self.fully_connected(f"{name}.predicate_head", region)
            x = self.linear(f"{name}.visual.fuse", np.concatenate([subject[i], predicate, object[j]]))
            logits = self.linear(
                f"{name}.visual.score.3", leaky(self.linear(f"{name}.visual.score.1", leaky(x)))
            )
            logits = logits + self.linear(f"{name}.visual.subject_skip", subject[i])
            logits = logits + self.linear(f"{name}.visual.object_skip", object[j])
            x = np.array(slow_spatial(s, o, self.height, self.width))
            for layer in (0, 2):
                x = leaky(self.linear(f"{name}.spatial.mlp.{layer}", x))
            logits = logits + self.linear(f"{name}.spatial.mlp.4", x)
            logits = logits + self.weights[f"{name}.semantic.log_prior"][entities[i][1], entities[j][1]]
            for p, prob in enumerate(softmax(logits)[:-1]):
                found[i, j, p] = entities[i][0] * entities[j][0] * float(prob)
        return found


def leaky(x: Array) -> Array:
    result: Array = np.where(x > 0, x, 0.1 * x)
    return result
