"""VG150's h5 layout."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from reldn_d2.data.datasets.visual_genome.vg150 import OBJECT_CLASSES, PREDICATE_CLASSES, load_vg150
from tests.builders.vg150_files import Photo, h5_arrays, image_data, write_files

from .damage import Counted, Damage, Format, Loads, Refused

H5 = "VG-SGG-with-attri.h5"
FIRST = Photo(7)
# Damage -> the first image, where the layout can express it.
PHOTOS = {
    Damage.ONE_BOX: replace(FIRST, boxes=FIRST.boxes[:1], labels=[1], relations=()),
    Damage.BOX_OUTSIDE: replace(FIRST, boxes=[(1000, 100, 200, 60), FIRST.boxes[1]]),
    Damage.BOX_ORDER: replace(FIRST, boxes=[(100, 100, -40, 60), FIRST.boxes[1]]),
    Damage.BOX_NOT_FINITE: replace(FIRST, boxes=[(100, float("nan"), 40, 60), FIRST.boxes[1]]),
    Damage.DANGLING_ID: replace(FIRST, relations=[(0, 2, 1)]),
    Damage.UNKNOWN_CLASS: replace(FIRST, labels=[1, 151]),
    Damage.UNKNOWN_PREDICATE: replace(FIRST, relations=[(0, 1, 51)]),
    Damage.SELF_RELATION: replace(FIRST, relations=[(0, 1, 1), (1, 1, 1)]),
    Damage.REPEATED_RELATION: replace(FIRST, relations=[(0, 1, 1), (0, 1, 1)]),
}


def write(folder: Path, damage: Damage) -> None:
    photos = [PHOTOS.get(damage, FIRST), Photo(8), Photo(9)]
    write_files(folder, h5_arrays(photos), image_data(photos))
    pictures = folder / "VG_100K"
    pictures.mkdir()
    for photo in photos:
        Image.new("RGB", (photo.width, photo.height)).save(pictures / f"{photo.image_id}.jpg")
    if damage is Damage.UNREADABLE_IMAGE:
        (pictures / "7.jpg").write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (pictures / "7.jpg").unlink()
    elif damage is Damage.CUT_OFF:
        (folder / H5).write_bytes((folder / H5).read_bytes()[:-100])
    elif damage is Damage.NO_FILE:
        (folder / H5).unlink()


def load(folder: Path) -> list[dict[str, Any]]:
    # keep_empty, so that an image without relationships is loaded
    return load_vg150(folder, "trainval", keep_empty=True)


def refused_row(key: str, row: int) -> Refused:
    return Refused(rf"{H5}: row {row} of '{key}' \(image 7\): it is .*, but .*Download the file again")


FORMAT = Format(
    "vg150",
    write,
    load,
    len(OBJECT_CLASSES),
    len(PREDICATE_CLASSES),
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: Counted(rf"{H5}: 1 boxes that stick out of their image were clipped.*image 7"),
        Damage.BOX_ORDER: refused_row("boxes_1024", 0),
        Damage.BOX_NOT_FINITE: refused_row("boxes_1024", 0),
        Damage.DANGLING_ID: refused_row("relationships", 0),
        Damage.UNKNOWN_CLASS: refused_row("labels", 1),
        Damage.UNKNOWN_PREDICATE: refused_row("predicates", 0),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        Damage.UNREADABLE_IMAGE: Loads("unreadable_image"),
        Damage.MISSING_IMAGE: Loads("missing_image"),
        Damage.CUT_OFF: Refused(f"{H5} cannot be read.*Download it again"),
        Damage.NO_FILE: Refused(f"{H5} does not exist.*DETECTRON2_DATASETS"),
    },
)
