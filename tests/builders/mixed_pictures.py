"""A data set of small pictures, upright and lying, for trainings that need more than equal scenes."""

from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from reldn_d2.data import register_relation_dataset
from reldn_d2.structures.dataset_dicts import DatasetDict

NAMES = ("mixed_train", "mixed_test")


def register_mixed_pictures(folder: Path) -> None:
    """Registers `mixed_train` and `mixed_test` with the classes of the scenes. Writes the pictures once."""
    scenes = MetadataCatalog.get("reldn_scenes_tiny_train")
    for name, count in zip(NAMES, (11, 5), strict=True):
        if name in DatasetCatalog:
            continue
        register_relation_dataset(
            name,
            _load,
            {"folder": str(folder), "name": name, "count": count},
            thing_classes=scenes.thing_classes,
            predicate_classes=scenes.predicate_classes,
        )


def _load(folder: str, name: str, count: int) -> list[DatasetDict]:
    return [_picture(Path(folder), name, number) for number in range(count)]


def _picture(folder: Path, name: str, number: int) -> DatasetDict:
    generator = np.random.default_rng([len(name), number])
    width, height = ((72, 96), (96, 72), (64, 104))[number % 3]
    file = folder / f"{name}_{number}.png"
    pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if not file.exists():
        Image.fromarray(pixels).save(file)
    corners = generator.uniform(0, 0.5, (4, 2)) * (width, height)
    sides = generator.uniform(0.2, 0.45, (4, 2)) * (width, height)
    annotations = [
        {"bbox": [*low, *(low + side)], "bbox_mode": BoxMode.XYXY_ABS, "category_id": int(category)}
        for low, side, category in zip(corners, sides, generator.integers(0, 6, 4), strict=True)
    ]
    relations = [(0, 1, number % 7), (2, 1, (number + 3) % 7), (3, 0, 2)]
    return {
        "file_name": str(file),
        "image_id": 100 * len(name) + number,
        "width": width,
        "height": height,
        "annotations": annotations,
        "relations": relations,
    }
