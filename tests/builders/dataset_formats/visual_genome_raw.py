"""Raw Visual Genome."""

from pathlib import Path
from typing import Any

from reldn_d2.data.datasets.visual_genome.raw import load_visual_genome_raw
from tests.builders.visual_genome_files import (
    PREDICATES,
    THINGS,
    relationship,
    thing,
    write_files,
    write_pictures,
)

from .damage import Counted, Damage, Format, Loads, Refused

MAN, CUP = thing(1, "man", 5, 10, 20, 40), thing(2, "cup", 20, 15, 8, 9)
INTACT = [relationship(MAN, "holding", CUP)]
# Damage -> objects or relationships of the first image.
OBJECTS = {
    Damage.ONE_BOX: [MAN],
    Damage.BOX_OUTSIDE: [MAN, {**CUP, "w": 200}],
    Damage.BOX_ORDER: [MAN, {**CUP, "w": -8}],
    Damage.BOX_NOT_FINITE: [MAN, {**CUP, "y": float("nan")}],
    Damage.UNKNOWN_CLASS: [MAN, CUP, thing(3, "sky")],
}
RELATIONSHIPS = {
    Damage.ONE_BOX: [],
    Damage.UNKNOWN_PREDICATE: [*INTACT, relationship(MAN, "flies over", CUP)],
    Damage.SELF_RELATION: [*INTACT, relationship(MAN, "near", MAN)],
    Damage.REPEATED_RELATION: INTACT * 2,
}


def write(folder: Path, damage: Damage) -> None:
    others = {8: [MAN, CUP], 9: [MAN, CUP]}
    write_files(
        folder,
        {7: OBJECTS.get(damage, [MAN, CUP]), **others},
        {7: RELATIONSHIPS.get(damage, INTACT), 8: INTACT, 9: INTACT},
    )
    write_pictures(folder, "VG_100K/7.jpg", "VG_100K/8.jpg", "VG_100K_2/9.jpg")
    if damage is Damage.DANGLING_ID:
        sizes = folder / "image_data.json"
        sizes.write_text(sizes.read_text().replace('"image_id": 7', '"image_id": 10'))
    elif damage is Damage.UNREADABLE_IMAGE:
        (folder / "VG_100K" / "7.jpg").write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (folder / "VG_100K" / "7.jpg").unlink()
    elif damage is Damage.CUT_OFF:
        path = folder / "relationships.json"
        path.write_text(path.read_text()[:-10])
    elif damage is Damage.NO_FILE:
        (folder / "relationships.json").unlink()


def load(folder: Path) -> list[dict[str, Any]]:
    return load_visual_genome_raw(folder, thing_classes=THINGS, predicate_classes=PREDICATES)


def refused_box(box: str) -> Refused:
    return Refused(rf"objects\.json: image 7, object 2: x, y, w and h are \[{box}\].*Correct the record")


FORMAT = Format(
    "visual_genome_raw",
    write,
    load,
    len(THINGS),
    len(PREDICATES),
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: Counted(
            r"1 boxes that stick out of their image were clipped.*objects\.json: image 7, object 2"
        ),
        Damage.BOX_ORDER: refused_box(r"20\.0, 15\.0, -8\.0, 9\.0"),
        Damage.BOX_NOT_FINITE: refused_box(r"20\.0, nan, 8\.0, 9\.0"),
        # each relationship describes its objects with their boxes, so only ids of images can be missing
        Damage.DANGLING_ID: Refused(r"image_data\.json: image 7: the file does not list it.*remove it"),
        Damage.UNKNOWN_CLASS: Counted(r": 1 entities are left out.*'sky' \(1\)"),
        Damage.UNKNOWN_PREDICATE: Counted(
            r"relationships\.json: 1 relationships are left out.*'flies over' \(1\)"
        ),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        # sizes are in the file, so no picture is opened
        Damage.UNREADABLE_IMAGE: Loads("unreadable_image"),
        Damage.MISSING_IMAGE: Loads("missing_image"),
        Damage.CUT_OFF: Refused(r"relationships\.json: the file: not valid JSON.*unpack it again"),
        Damage.NO_FILE: Refused(r"relationships\.json does not exist.*DETECTRON2_DATASETS"),
    },
)
