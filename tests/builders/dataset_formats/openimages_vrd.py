"""The relationships of OpenImages, as of 2018."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from reldn_d2.data.datasets.openimages.vrd import load_openimages_vrd

from .damage import Counted, Damage, Format, Loads, Refused

COLUMNS = (
    *("ImageID", "LabelName1", "LabelName2"),
    *("XMin1", "XMax1", "YMin1", "YMax1", "XMin2", "XMax2", "YMin2", "YMax2"),
    "RelationLabel",
)
CSV = "challenge-2018-train-vrd.csv"
WIDTH, HEIGHT = 80, 40

MAN, WOMAN, GUITAR, TABLE, WOODEN = "/m/04yx4", "/m/03bt1vf", "/m/0342h", "/m/04bcr3", "/m/083vt"

# xmin, ymin, xmax, ymax
LEFT, RIGHT, MIDDLE = (0.1, 0.2, 0.3, 0.9), (0.5, 0.25, 0.75, 1.0), (0.25, 0.5, 0.5, 0.75)

Box = tuple[Any, Any, Any, Any]


def row(image: str, subject: str, box: Box, predicate: str, object: str, other: Box) -> dict[str, Any]:
    """A row of the CSV of relationships."""
    corners = {
        f"{side}{end}": value
        for end, corners in ((1, box), (2, other))
        for side, value in zip(("XMin", "YMin", "XMax", "YMax"), corners, strict=True)
    }
    return {
        "ImageID": image,
        "LabelName1": subject,
        "LabelName2": object,
        **corners,
        "RelationLabel": predicate,
    }


def attribute_row(image: str, entity: str, box: Box, attribute: str) -> dict[str, Any]:
    return row(image, entity, box, "is", attribute, box)


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    lines = [",".join(columns), *(",".join(str(record[column]) for column in columns) for record in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_pictures(folder: Path, image_ids: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in image_ids:
        Image.new("L", (WIDTH, HEIGHT)).save(folder / f"{image_id}.jpg")


def _first_image(damage: Damage) -> list[dict[str, Any]]:
    plays = row("a0", MAN, LEFT, "plays", GUITAR, MIDDLE)
    match damage:
        case Damage.ONE_BOX:
            return [attribute_row("a0", TABLE, LEFT, WOODEN)]
        case Damage.BOX_OUTSIDE:
            return [plays | {"XMax2": 1.2}]
        case Damage.BOX_ORDER:
            return [plays | {"XMin2": 0.5, "XMax2": 0.25}]
        case Damage.BOX_NOT_FINITE:
            return [plays | {"YMax2": "inf"}]
        case Damage.UNKNOWN_CLASS:
            return [plays | {"LabelName2": "/m/0nothing"}]
        case Damage.UNKNOWN_PREDICATE:
            return [plays | {"RelationLabel": "tunes"}]
        case Damage.SELF_RELATION:
            return [plays, row("a0", MAN, LEFT, "holds", MAN, LEFT)]
        case Damage.REPEATED_RELATION:
            return [plays, plays]
    return [plays]


def _write(root: Path, damage: Damage) -> None:
    others = [row(image, WOMAN, RIGHT, "at", TABLE, MIDDLE) for image in ("b1", "c2")]
    write_csv(root / CSV, _first_image(damage) + others)
    # validation has its own file, so it is no part of the training file; split "train" does not read it
    (root / "oidv6-validation-annotations-vrd.csv").touch()
    write_pictures(root / "train", ["a0", "b1", "c2"])
    picture = root / "train" / "a0.jpg"
    match damage:
        case Damage.UNREADABLE_IMAGE:
            picture.write_text("no picture")
        case Damage.MISSING_IMAGE:
            picture.unlink()
        case Damage.CUT_OFF:
            (root / CSV).write_text((root / CSV).read_text()[:-12])
        case Damage.NO_FILE:
            (root / CSV).unlink()


_LINE = r"challenge-2018-train-vrd\.csv: line 2, image a0: "

FORMAT = Format(
    name="openimages_vrd",
    write=_write,
    load=lambda root: load_openimages_vrd(root, "train"),
    num_classes=57,
    num_predicates=9,
    outcomes={
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Counted(
            r"challenge-2018-train-vrd\.csv: 2 images .*; 1 that have attributes only are left out"
        ),
        Damage.BOX_OUTSIDE: Refused(
            _LINE + r"a box leaves the image \(.*XMax2 1\.2, .*\)\. Give coordinates"
        ),
        Damage.BOX_ORDER: Refused(
            _LINE + r"a box has swapped corners \(XMin2 0\.5, .*XMax2 0\.25, .*\)\. Give XMin"
        ),
        Damage.BOX_NOT_FINITE: Refused(_LINE + r"a box leaves the image \(.*YMax2 inf\)\. Give"),
        Damage.UNKNOWN_CLASS: Refused(
            _LINE + "class /m/0nothing is not in the vocabulary.*put the triplets file"
        ),
        Damage.UNKNOWN_PREDICATE: Refused(
            _LINE + "predicate tunes is not in the vocabulary.*put the triplets file"
        ),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        Damage.UNREADABLE_IMAGE: Refused(r"a0\.jpg cannot be read.*replace it"),
        Damage.MISSING_IMAGE: Refused(
            r"challenge-2018-train-vrd\.csv: image 'a0\.jpg': .*no such file.* 1 of 3 images.*"
            "unpack the images"
        ),
        Damage.CUT_OFF: Refused(
            r"challenge-2018-train-vrd\.csv: the last line has no line break.*Download it again"
        ),
        Damage.NO_FILE: Refused(r"has no file \*train\*-vrd\.csv\. Check DETECTRON2_DATASETS"),
    },
)
