"""Label Studio's exports, as the program writes them."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

Record = dict[str, Any]
WIDTH, HEIGHT = 200, 100


def region(
    identity: str, label: str | None, box: tuple[float, ...] = (10, 20, 30, 40), **more: Any
) -> Record:
    """A box: x, y, width, height in per cent, and rotation."""
    x, y, width, height, *rotation = box
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation[0] if rotation else 0}
    return {
        "id": identity,
        "type": "rectanglelabels",
        "from_name": "tag",
        "to_name": "img",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "origin": "manual",
        "value": value | ({} if label is None else {"rectanglelabels": [label]}),
        **more,
    }


def relation(start: str, end: str, *labels: str, **more: Any) -> Record:
    return {
        "type": "relation",
        "from_id": start,
        "to_id": end,
        "direction": "right",
        "labels": [*labels],
        **more,
    }


def annotation(*result: Record, **more: Any) -> Record:
    return {
        "id": 31,
        "completed_by": 1,
        "result": [*result],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T22:16:08.728376Z",
        "lead_time": 4.5,
        "prediction": {},
        **more,
    }


def task(identity: int, *annotations: Record, image: str = "one.png", **more: Any) -> Record:
    return {
        "id": identity,
        "data": {"image": image},
        "annotations": [*annotations],
        "drafts": [],
        "predictions": [],
        "meta": {},
        "project": 4,
        **more,
    }


def write_export(folder: Path, *tasks: Any) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps([*tasks]))
    return path


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path
