"""Times our mapper beside Detectron2's `DatasetMapper`, on the same photos."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from PIL import Image

from reldn_d2 import add_reldn_config
from reldn_d2.data import Annotations, RelationDatasetMapper

from .timing import AnswersDifferError, Timer

_PHOTOS, _WIDTH, _HEIGHT = 8, 640, 480
_ENTITIES, _RELATIONSHIPS, _CLASSES, _PREDICATES = 12, 7, 100, 70

_Dicts = list[dict[str, Any]]


@dataclass(frozen=True)
class ImageLoading:
    """Speed of both mappers on one core.

    Attributes:
        mode: "train" or "test".
        short_side: short side of the resized photos, in pixels.
        ours: images a second of `RelationDatasetMapper`, which also maps relationships.
        detectron2: images a second of `DatasetMapper`.
    """

    mode: str
    short_side: int
    ours: float
    detectron2: float


def loadings(timer: Timer) -> Iterator[ImageLoading]:
    """Measures training and test at two sizes.

    Args:
        timer: times calls.

    Raises:
        AnswersDifferError: the two mappers do not give the same pixels and boxes.
    """
    with TemporaryDirectory() as folder:
        ours, detectron2s = _write_photos(Path(folder))
        for short_side in (800, 320):
            for mode in ("train", "test"):
                cfg = _config(short_side)
                ways: list[Callable[[], _Dicts]] = [
                    partial(_map_all, RelationDatasetMapper(cfg, mode == "train"), ours),
                    partial(_map_all, DatasetMapper(cfg, mode == "train"), detectron2s),
                ]
                _compare(f"{mode}, short side {short_side}", *ways)
                speeds = [_PHOTOS / ms * 1e3 for ms in timer.medians(ways)]
                yield ImageLoading(mode, short_side, *speeds)


def _config(short_side: int) -> CfgNode:
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (short_side,), short_side
    return cfg


def _write_photos(folder: Path) -> tuple[_Dicts, _Dicts]:
    """Writes photos. Returns their dicts with arrays and relationships, and with lists for Detectron2."""
    draws = np.random.default_rng(0)
    ours, detectron2s = _Dicts(), _Dicts()
    for number in range(_PHOTOS):
        # Detail of all sizes, as in a photo: JPEG decodes noise slowly and plain colours fast.
        coarse = draws.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        fine = draws.integers(-16, 16, (_HEIGHT, _WIDTH, 3))
        smooth = np.asarray(Image.fromarray(coarse).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC))
        file = folder / f"{number}.jpg"
        Image.fromarray((smooth + fine).clip(0, 255).astype(np.uint8)).save(file, quality=90)
        corners = np.sort(draws.uniform(0, (_WIDTH, _HEIGHT), (_ENTITIES, 2, 2)), axis=1)
        boxes, classes = corners.reshape(-1, 4), draws.integers(0, _CLASSES, _ENTITIES)
        subjects = draws.integers(0, _ENTITIES, _RELATIONSHIPS)
        others = (subjects + draws.integers(1, _ENTITIES, _RELATIONSHIPS)) % _ENTITIES
        relations = np.stack([subjects, others, draws.integers(0, _PREDICATES, _RELATIONSHIPS)], axis=1)
        photo = {"file_name": str(file), "image_id": number, "width": _WIDTH, "height": _HEIGHT}
        ours.append({**photo, "annotations": Annotations(boxes, classes), "relations": relations})
        annotations = [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category, "iscrowd": 0}
            for box, category in zip(boxes.tolist(), classes.tolist(), strict=True)
        ]
        detectron2s.append({**photo, "annotations": annotations})
    return ours, detectron2s


def _map_all(mapper: Callable[[dict[str, Any]], dict[str, Any]], dicts: _Dicts) -> _Dicts:
    return [mapper(dataset_dict) for dataset_dict in dicts]


def _compare(what: str, ours: Callable[[], _Dicts], detectron2s: Callable[[], _Dicts]) -> None:
    found = []
    for way in (ours, detectron2s):
        np.random.seed(0)  # augmentations draw from it
        found.append(way())
    for one, other in zip(*found, strict=True):
        same = torch.equal(one["image"], other["image"])
        if same and "instances" in other:
            same = torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)
        if not same:
            raise AnswersDifferError(f"{what}: Detectron2's mapper gives another picture or other boxes")
