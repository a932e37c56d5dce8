"""SGDET of photos with many detections: exact ranking that stops early, and ranking every pair.

Detections, semantic table and spatial module come from a committed file (`make_detections.py`): what a detector and a
model without pixels trained on vrd_mini found in four of its test photos. Everything else has the size of the paper's
FPN models (R-50, 256 channels, 1024 features) and random weights; the visual module's last layers are zero, so that
predicate scores are those of the trained modules while its work is done in full.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray

from benchmarks.timing import Row, measure
from reldn_d2.config import add_reldn_config
from reldn_d2.modeling import RelDN

FILE = Path(__file__).with_name("vrd_mini_detections.npz")
_SHORT_SIDE = 600

Output = list[dict[str, Instances]]


def rows() -> Iterator[Row]:
    model, photos = _model(), _photos()
    stages = [_RelationStage(model, detections) for detections in photos]
    found = ", ".join(str(len(detections)) for detections in photos)
    for name, run in (("relation stage", _RelationStage.run), ("end to end", _RelationStage.end_to_end)):

        def all_photos(exhaustive: bool, run: Callable[[_RelationStage, bool], Output] = run) -> list[Output]:
            return [run(stage, exhaustive) for stage in stages]

        yield measure(
            f"SGDET, {name}, {len(photos)} photos ({found} detections)",
            partial(all_photos, False),
            slow=partial(all_photos, True),
            slow_name="every pair",
            same=_same,
        )


@dataclass(frozen=True)
class Memory:
    """Peak of the relation stage, in MB (1e6 bytes) above what was in use before it."""

    entities: int
    pairs: int
    every_pair_mb: float
    exact_mb: float


def peak_memory() -> Iterator[Memory]:
    """The photos' detections laid over each other, and the best 100, 200 and 300 of them taken.

    Raises:
        OSError: the system has no /proc/self/clear_refs (it is Linux's) to measure with.
    """
    model, photos = _model(), _photos()
    crowd = Instances.cat([_resized(found, photos[0].image_size) for found in photos])
    crowd = crowd[crowd.scores.argsort(descending=True, stable=True)]
    for count in (100, 200, 300):
        stage = _RelationStage(model, crowd[:count])
        every_pair, exact = (_peak_mb(partial(stage.run, exhaustive)) for exhaustive in (True, False))
        yield Memory(count, count * (count - 1), every_pair, exact)


def _peak_mb(function: Callable[[], Any]) -> float:
    function()  # what is allocated once and kept
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # starts the high-water mark anew
    before = _status_kb("VmRSS")
    function()
    return (_status_kb("VmHWM") - before) * 1024 / 1e6


def _status_kb(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


class _WithDetections(RelDN):
    replacement: Instances

    def _detect(self, images: Any, features: Any) -> list[Instances]:
        super()._detect(images, features)
        return [self.replacement]


class _RelationStage:
    """One photo: its feature maps, its detections, and the two ways to rank their pairs."""

    @torch.no_grad()
    def __init__(self, model: _WithDetections, detections: Instances) -> None:
        height, width = detections.image_size
        image = torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(0))
        self.inputs = [{"image": image.to(torch.uint8), "height": height, "width": width}]
        assert model.relation_backbone is not None
        self.model, self.detections = model, detections
        images = model.preprocess_image(self.inputs)
        self.features = model.backbone(images.tensor)
        self.relation_features = model.relation_backbone(images.tensor)

    @torch.no_grad()
    def run(self, exhaustive: bool) -> Output:
        """From feature maps and detections to ranked relationships."""
        self.model.relation_head.exhaustive = exhaustive
        result: Output = self.model.relation_head.inference(
            self.features, self.relation_features, [self.detections], entities_given=False
        )
        return result

    def end_to_end(self, exhaustive: bool) -> Output:
        """The whole model; what its untrained detector finds, in full length, gives way to the file's detections."""
        self.model.relation_head.exhaustive = exhaustive
        self.model.replacement = self.detections
        result: Output = self.model.inference(self.inputs)
        return result


def _model() -> _WithDetections:
    torch.manual_seed(0)
    arrays = np.load(FILE)
    cfg = _config(num_classes=len(arrays["prior_row"]), num_predicates=arrays["prior_rows"].shape[1] - 1)
    model: _WithDetections = build_model(cfg).eval()
    model.__class__ = _WithDetections  # no second registration for a benchmark
    classifier = model.relation_head.pair_classifier
    with torch.no_grad():
        visual = classifier.visual
        assert visual is not None and visual.score is not None
        for layer in (
            visual.score[-1],
            visual.subject_skip,
            visual.object_skip,
        ):
            torch.nn.init.zeros_(layer.weight)
        trained = {
            name: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("spatial.")
        }
        trained["semantic.log_prior"] = torch.from_numpy(arrays["prior_rows"][arrays["prior_row"]])
        missing, unexpected = classifier.load_state_dict(trained, strict=False)
        assert not unexpected and all(not name.startswith(("spatial", "semantic")) for name in missing)
    return model


def _config(num_classes: int, num_predicates: int) -> CfgNode:
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "RelDN", "cpu", ""
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = num_classes
    cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = num_predicates
    return cfg


def _photos() -> list[Instances]:
    """Detections of each photo, in the size that the network sees."""
    arrays = np.load(FILE)
    end = np.cumsum(arrays["counts"])
    return [
        _photo(arrays, slice(stop - count, stop), tuple(size))
        for stop, count, size in zip(end, arrays["counts"], arrays["sizes"], strict=True)
    ]


def _photo(arrays: dict[str, NDArray[Any]], rows: slice, size: tuple[int, int]) -> Instances:
    detections = Instances(
        size,
        pred_boxes=Boxes(torch.from_numpy(arrays["boxes"][rows])),
        scores=torch.from_numpy(arrays["scores"][rows]),
        pred_classes=torch.from_numpy(arrays["classes"][rows]),
    )
    scale = _SHORT_SIDE / min(size)
    return _resized(detections, (round(size[0] * scale), round(size[1] * scale)))


def _resized(detections: Instances, size: tuple[int, int]) -> Instances:
    height, width = detections.image_size
    boxes = detections.pred_boxes.clone()
    boxes.scale(size[1] / width, size[0] / height)
    return Instances(size, pred_boxes=boxes, scores=detections.scores, pred_classes=detections.pred_classes)


def _same(exact: list[Output], exhaustive: list[Output]) -> None:
    """Bit by bit: both score the same chunks until the exact way stops."""
    for ours, theirs in zip(exact, exhaustive, strict=True):
        a, b = ours[0]["relations"].get_fields(), theirs[0]["relations"].get_fields()
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), f"{name} differs"
