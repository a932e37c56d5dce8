"""The data sets of this project: drawn squares and circles, with the predicates "left of" and "above"."""

import random
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image, ImageDraw

from reldn_d2.data import register_coco_relations, save_coco_relations

SHAPES = ["square", "circle"]
PREDICATES = ["left of", "above"]
SIZE = 64


def register_shapes(folder: Path) -> None:
    """Registers "shapes_train" by a function, and "shapes_test" by a file.

    Args:
        folder: where images are drawn and the file is written.
    """
    DatasetCatalog.register("shapes_train", lambda: load_shapes(folder / "train", range(40)))
    names = MetadataCatalog.get("shapes_train").set(thing_classes=SHAPES, predicate_classes=PREDICATES)

    # A COCO-relations file. One that you wrote by hand needs the last line alone.
    file, images = folder / "test.json", folder / "test"
    save_coco_relations(load_shapes(images, range(1000, 1020)), names, file, images)
    register_coco_relations("shapes_test", {}, file, images, train_dataset="shapes_train")


def load_shapes(folder: Path, numbers: range) -> list[dict[str, Any]]:
    """Draws images and returns Detectron2's standard dicts with one more key, "relations".

    Each relation is (subject, object, predicate); subject and object are positions in "annotations".
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [draw(folder / f"{number}.png", number) for number in numbers]


def draw(file: Path, image_id: int) -> dict[str, Any]:
    """Draws an image with three shapes and returns its dict."""
    numbers = random.Random(image_id)
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    pen = ImageDraw.Draw(picture)
    # Three of the four quarters hold a shape.
    places = numbers.sample([(0, 0), (32, 0), (0, 32), (32, 32)], 3)
    annotations = []
    for x, y in places:
        left, top, side = x + numbers.randint(2, 8), y + numbers.randint(2, 8), numbers.randint(14, 20)
        box, shape = [left, top, left + side, top + side], numbers.randrange(2)
        (pen.rectangle if shape == 0 else pen.ellipse)(box, fill=("navy", "orange")[shape])
        annotations.append({"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": shape})
    picture.save(file)
    relations = [
        (i, j, 0 if y == other_y else 1)
        for i, (x, y) in enumerate(places)
        for j, (other_x, other_y) in enumerate(places)
        if (y == other_y and x < other_x) or (x == other_x and y < other_y)
    ]
    return {
        "file_name": str(file),
        "image_id": image_id,
        "height": SIZE,
        "width": SIZE,
        "annotations": annotations,
        "relations": relations,
    }
