"""Drawn scenes as Detectron2 data sets: dataset dicts, cached pictures, registration, confusable cases."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from detectron2.structures import BoxMode

from reldn_d2.structures.dataset_dicts import entity_classes
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import extended

from ..images import cache_folder
from ..registration import register_relation_dataset
from .drawing import Image, draw_scene
from .scene import Scene, make_scene
from .vocabulary import (
    GENERATOR_VERSION,
    IMAGE_SIZE,
    PREDICATE_CLASSES,
    THING_CLASSES,
    Category,
    Predicate,
)

logger = logging.getLogger(__name__)

BUILTIN_DATASETS = {
    "reldn_scenes_train": ("train", 1600),
    "reldn_scenes_test": ("test", 200),
    "reldn_scenes_tiny_train": ("train", 16),
    "reldn_scenes_tiny_test": ("test", 8),
}
"""Name -> (split, number of scenes). The tiny sets are the first scenes of the large ones."""

Triplet = tuple[int, int, int]


@dataclass(frozen=True)
class ConfusableCase:
    """One annotated relationship, and wrong triplets. Only the pixels show which triplet is right.

    Attributes:
        kind: "instance" (which of several cups does this person hold?) or "proximity" (which person plays
            which guitar?).
        relation: the annotated (subject, object, predicate).
        wrong: candidates that are not annotated. "instance": the person with other cups; "proximity": people
            with others' guitars.
    """

    kind: str
    relation: Triplet
    wrong: tuple[Triplet, ...]

    @property
    def chance(self) -> float:
        """Probability that random scores solve the case."""
        return 1 / (1 + len(self.wrong))

    def is_solved(self, score: Mapping[Triplet, float]) -> bool:
        """Whether the annotated triplet scores above every wrong one."""
        return all(score[self.relation] > score[triplet] for triplet in self.wrong)


def scene_folder(split: str, root: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder of the pictures of a split.

    Args:
        split: "train" or "test".
        root: folder of all drawn scenes; by default `reldn_d2_scenes` in the folder that the environment
            variable DETECTRON2_DATASETS names, or `reldn_d2/scenes` in the user's cache folder.
    """
    if root is None:
        datasets = os.environ.get("DETECTRON2_DATASETS")
        root = Path(datasets).expanduser() / "reldn_d2_scenes" if datasets else cache_folder() / "scenes"
    return Path(root) / f"v{GENERATOR_VERSION}" / split


def scene_dict(scene: Scene, file_name: str, image_id: int) -> dict[str, Any]:
    """The dataset dict of a scene. Nothing is drawn, and the file need not exist."""
    items = [scene.layout.items[row] for row in scene.order]
    annotations = [
        {
            "bbox": list(item.box),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": int(item.category),
            "iscrowd": 0,
        }
        for item in items
    ]
    return {
        "file_name": file_name,
        "height": IMAGE_SIZE,
        "width": IMAGE_SIZE,
        "image_id": image_id,
        "annotations": annotations,
        "relations": scene.relations,
    }


def load_scenes(
    split: str, num_scenes: int, root: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """The first `num_scenes` scenes of a split. Pictures that are not in the cache are drawn.

    Several processes may load at the same time: pictures are written to the cache in one step, and every
    process draws the same pictures.

    Args:
        split: "train" or "test".
        num_scenes: number of scenes.
        root: folder of the pictures, see `scene_folder`.

    Returns:
        Detectron2 dataset dicts with `relations`: (R, 3) int64 (subject, object, predicate).

    Raises:
        OSError: a picture can't be written.
        ValueError: unknown split, or a negative number.
    """
    if num_scenes < 0:
        raise ValueError(f"num_scenes must not be negative, got {num_scenes}")
    folder = scene_folder(split, root)
    scenes = [make_scene(split, index) for index in range(num_scenes)]
    paths = [folder / f"{index:06d}.png" for index in range(num_scenes)]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    if missing:
        logger.info("drawing %d scenes into %s", len(missing), folder)
        try:
            for index in missing:
                _write_png(paths[index], draw_scene(scenes[index]))
        except OSError as error:
            raise extended(error, "XDG_CACHE_HOME names another folder for the drawn scenes") from error
    return [
        scene_dict(scene, str(path), i) for i, (scene, path) in enumerate(zip(scenes, paths, strict=True))
    ]


def register_scenes(
    name: str,
    split: str,
    num_scenes: int,
    root: str | os.PathLike[str] | None = None,
    train_dataset: str | None = None,
) -> None:
    """Register scenes with Detectron2. They are drawn when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        split: see `load_scenes`.
        num_scenes: see `load_scenes`.
        root: see `load_scenes`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
    """
    register_relation_dataset(
        name,
        load_scenes,
        {"split": split, "num_scenes": num_scenes, "root": root},
        thing_classes=THING_CLASSES,
        predicate_classes=PREDICATE_CLASSES,
        train_dataset=train_dataset,
    )


def confusable_cases(dataset_dict: dict[str, Any]) -> list[ConfusableCase]:
    """One case for every annotated "holds" (instance) and "plays" (proximity), in annotation order.

    Args:
        dataset_dict: a scene's dataset dict, with `annotations` and `relations`.
    """
    categories = entity_classes(dataset_dict).tolist()
    people = [row for row, category in enumerate(categories) if category == Category.PERSON]
    triplets: list[Triplet] = [(int(s), int(o), int(p)) for s, o, p in dataset_dict["relations"]]
    annotated = set(triplets)
    cases = []
    for subject, object, predicate in triplets:
        if predicate not in (Predicate.HOLDS, Predicate.PLAYS):
            continue
        kind, subjects = ("instance", [subject]) if predicate == Predicate.HOLDS else ("proximity", people)
        targets = [row for row, category in enumerate(categories) if category == categories[object]]
        candidates = ((s, o, predicate) for s in subjects for o in targets)
        wrong = tuple(triplet for triplet in candidates if triplet not in annotated)
        cases.append(ConfusableCase(kind, (subject, object, predicate), wrong))
    return cases


def _write_png(path: Path, image: Image) -> None:
    encoded, data = cv2.imencode(".png", image)
    if not encoded:
        raise OSError(f"OpenCV could not encode {path} as PNG")
    with atomic_write(path) as file:
        file.write(data.tobytes())
