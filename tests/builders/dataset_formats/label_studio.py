"""Label Studio's export."""

from pathlib import Path
from typing import Any

from reldn_d2.data import load_label_studio
from tests.builders.label_studio_files import annotation, picture, region, relation, task, write_export

from .damage import Counted, Damage, Format, Loads, Refused

CLASSES, PREDICATES = ("cup", "person"), ("holds", "on")
CUP, PERSON = region("a", "cup"), region("b", "person", (50, 10, 20, 80))
INTACT = (CUP, PERSON, relation("b", "a", "holds"))
# Damage -> results of the first task.
RESULTS = {
    Damage.ONE_BOX: INTACT[:1],
    Damage.BOX_OUTSIDE: (region("a", "cup", (90, 20, 30, 40)), *INTACT[1:]),
    Damage.BOX_ORDER: (region("a", "cup", (40, 60, -30, -40)), *INTACT[1:]),
    Damage.BOX_NOT_FINITE: (region("a", "cup", (10, float("nan"), 30, 40)), *INTACT[1:]),
    Damage.DANGLING_ID: (*INTACT, relation("b", "c", "holds")),
    Damage.UNKNOWN_CLASS: (region("a", "cups"), *INTACT[1:]),
    Damage.UNKNOWN_PREDICATE: (*INTACT[:2], relation("b", "a", "hold")),
    Damage.SELF_RELATION: (*INTACT, relation("a", "a", "on")),
    Damage.REPEATED_RELATION: (*INTACT, INTACT[2]),
}


def write(folder: Path, damage: Damage) -> None:
    results = [RESULTS.get(damage, INTACT), INTACT, INTACT]
    names = [f"{i}.png" for i in range(1, 4)]
    tasks = [
        task(i, annotation(*result), image=name)
        for i, (result, name) in enumerate(zip(results, names, strict=True), start=1)
    ]
    path = write_export(folder, *tasks)
    for name in names:
        picture(folder / "photos" / name)
    if damage is Damage.UNREADABLE_IMAGE:
        (folder / "photos" / names[0]).write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (folder / "photos" / names[0]).unlink()
    elif damage is Damage.CUT_OFF:
        path.write_bytes(path.read_bytes()[:-10])
    elif damage is Damage.NO_FILE:
        path.unlink()


def load(folder: Path) -> list[dict[str, Any]]:
    return load_label_studio(
        folder / "export.json", folder / "photos", thing_classes=CLASSES, predicate_classes=PREDICATES
    )


FORMAT = Format(
    "label_studio",
    write,
    load,
    len(CLASSES),
    len(PREDICATES),
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: Counted(
            r"export\.json: 3 images; boxes that reach out .*: 1 \(first in task 1\)"
        ),
        # The editor writes a box that was drawn towards its first corner in this way.
        Damage.BOX_ORDER: Loads(None),
        Damage.BOX_NOT_FINITE: Refused(
            r"export\.json: task 1, region 'a': 'y' is nan\. Numbers are .*correct it"
        ),
        Damage.DANGLING_ID: Counted(
            r"relations to a region that the file lacks, left out: 1 \(first in task 1\)"
        ),
        Damage.UNKNOWN_CLASS: Refused(
            r"export\.json: task 1: .* no class 'cups' \(similar: 'cup'\)\. Correct"
        ),
        Damage.UNKNOWN_PREDICATE: Refused(
            r"export\.json: task 1: .* no predicate 'hold' \(similar: 'holds'\)\. Correct"
        ),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        Damage.UNREADABLE_IMAGE: Refused(r"1\.png cannot be read.*replace it"),
        Damage.MISSING_IMAGE: Refused(r"export\.json: task 1: the image '1\.png' is not in .*image_root"),
        Damage.CUT_OFF: Refused(r"export\.json is not valid JSON.*choose Export, then JSON"),
        Damage.NO_FILE: Refused(r"export\.json can't be read .*check the path"),
    },
)
