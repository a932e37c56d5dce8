"""Own data as a user has them: COCO-relations files, pictures, and a data file that names both."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from reldn_d2.data import save_coco_relations
from tests.builders.dataset_formats.coco_relations import intact

__all__ = ["intact", "scenes_as_own_data", "small_party", "write_data_file"]


def write_data_file(folder: Path, name: str = "party", **splits: Any) -> Path:
    """Writes `NAME.yaml`; by default with the splits of `small_party`."""
    given = splits or {
        split: {"annotations": f"{split}.json", "images": "images"} for split in ("train", "test")
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


def small_party(folder: Path, *, things: int = 2, predicates: int = 1) -> Path:
    """Two splits of three noisy pictures each, with the given numbers of classes. Returns the data file."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        content = intact()
        content["categories"] += [{"id": i + 1, "name": f"thing {i}"} for i in range(2, things)]
        content["predicates"] += [{"id": i + 1, "name": f"predicate {i}"} for i in range(1, predicates)]
        for image in content["images"]:
            image["file_name"] = f"{split}_{image['file_name']}"
            pixels = random.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
            (folder / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / "images" / image["file_name"])
        (folder / f"{split}.json").write_text(json.dumps(content))
    return write_data_file(folder)


def scenes_as_own_data(folder: Path, *, tiny: bool = False) -> Path:
    """The built-in scenes, exported as a user's data. Returns the data file."""
    prefix = "reldn_scenes_tiny" if tiny else "reldn_scenes"
    splits = {}
    for split in ("train", "test"):
        name = f"{prefix}_{split}"
        images = DatasetCatalog.get(name)
        root = Path(images[0]["file_name"]).parent
        save_coco_relations(images, MetadataCatalog.get(name), folder / f"{split}.json", root)
        splits[split] = {"annotations": f"{split}.json", "images": str(root)}
    return write_data_file(folder, **splits)
