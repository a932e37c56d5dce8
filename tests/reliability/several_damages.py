"""Files of data sets with six different damages at once, each of which one `reldn check` must find.

Each damage is of a kind of its own and in an image of its own, so that a record tells whose it is. Run
`python -m tests.reliability.several_damages` for the counts of all formats.
"""

import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from tests.builders import label_studio_files, vg150_files, visual_genome_files
from tests.builders.commands import run_reldn
from tests.builders.dataset_formats import (
    authors_json,
    coco_relations,
    label_studio,
    openimages_vrd,
    vg150,
    visual_genome_raw,
    vrd,
)
from tests.builders.dataset_formats.damage import Damage, Format
from tests.builders.vrd_records import CUP, PERSON, relationship

Content = dict[str, Any]
#: Number of damages in a file, of images in a file, and of files of each format.
AT_ONCE, IMAGES, TRIES = 6, 9, 50


@dataclass(frozen=True)
class Kind:
    """A kind of damage.

    Attributes:
        name: what `reldn check` calls it: the check that refused records fail, or the kind of problem.
        change: damages an image of the content.
        mark: what the record in the report must say; {} stands for the number of the image.
    """

    name: str
    change: Callable[[Content, int], Any]
    mark: str


@dataclass(frozen=True)
class DataSet:
    """A format.

    Attributes:
        form: its builder.
        intact: content without damage, of images 1 to `IMAGES`.
        write: writes the content without pictures.
        picture: path of a picture; {} stands for the number of its image.
        kinds: its kinds of damage, besides those of pictures.
        size: width and height of the pictures.
        checked_later: whether pictures are looked at by the checker, not by the loader.
    """

    form: Format
    intact: Callable[[], Content]
    write: Callable[[Path, Content], None]
    picture: str
    kinds: list[Kind]
    size: tuple[int, int]
    checked_later: bool = False

    def all_kinds(self) -> list[Kind]:
        """Its kinds of damage."""
        name = Path(self.picture).name
        missing, unreadable = "missing or unclear picture", "picture that can't be read"
        if self.form is label_studio.FORMAT:
            missing = "missing picture"
        if self.checked_later:
            missing, unreadable = "missing_image", "unreadable_image"
        return [
            *self.kinds,
            Kind(missing, lambda x, i: x.setdefault("missing", []).append(i), name),
            Kind(unreadable, lambda x, i: x.setdefault("unreadable", []).append(i), name),
        ]

    def write_all(self, folder: Path, content: Content) -> None:
        """Writes the content and the pictures."""
        self.write(folder, content)
        for i in range(1, IMAGES + 1):
            path = folder / self.picture.format(i)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", self.size).save(path)
            if i in content.get("unreadable", ()):
                path.write_text("<html>")
            if i in content.get("missing", ()):
                path.unlink()


@dataclass
class Counts:
    """What became of the damages of some files."""

    files: int = 0
    damages: int = 0
    found: int = 0
    wrong: list[str] = field(default_factory=list)


def problems(data_set: DataSet, folder: Path) -> list[dict[str, Any]]:
    """The errors that `reldn check` finds."""
    name, output = f"several_damages_{folder.name}", folder / "report.json"
    DatasetCatalog.register(name, lambda: data_set.form.load(folder))
    names = {
        "thing_classes": [f"class {i}" for i in range(data_set.form.num_classes)],
        "predicate_classes": [f"predicate {i}" for i in range(data_set.form.num_predicates)],
    }
    MetadataCatalog.get(name).set(**names)
    try:
        with redirect_stdout(io.StringIO()):
            run_reldn("check", "--dataset", name, "--images", "decode", "--output", output)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    (report,) = json.loads(output.read_text())["data_sets"]
    if "error" in report:
        return [{"kind": report["error"], "about": "", "count": 1, "records": []}]
    return [problem for problem in report["problems"] if problem["is_error"]]


def try_file(data_set: DataSet, folder: Path, random: Random, counts: Counts) -> None:
    """Damages a file in `AT_ONCE` ways and checks it."""
    content = deepcopy(data_set.intact())
    kinds = {kind.name: kind for kind in data_set.all_kinds()}
    chosen = random.sample(sorted(kinds), AT_ONCE)
    images = random.sample(range(2, IMAGES + 1), AT_ONCE)
    for name, image in zip(chosen, images, strict=True):
        kinds[name].change(content, image)
    data_set.write_all(folder, content)
    found = {x["about"] if x["kind"] == "refused" else x["kind"]: x for x in problems(data_set, folder)}
    counts.files, counts.damages = counts.files + 1, counts.damages + AT_ONCE
    for name, image in zip(chosen, images, strict=True):
        problem = found.pop(name, {"count": 0, "records": []})
        texts = [json.dumps(record) for record in problem["records"]]
        if problem["count"] == 1 and kinds[name].mark.format(image) in texts[0]:
            counts.found += 1
        else:
            counts.wrong.append(f"{name} in image {image}: {problem['count']} times, {texts}")
    counts.wrong += [f"another problem: {name}: {problem['records']}" for name, problem in found.items()]


def trials(data_set: DataSet, folder: Path, tries: int, seed: int) -> Counts:
    """Damages so many files."""
    counts, random = Counts(), Random(seed)
    for number in range(tries):
        of_try = folder / f"{data_set.form.name}_{number}"
        of_try.mkdir()
        try_file(data_set, of_try, random, counts)
    return counts


def listed(content: Content, i: int) -> list[Any]:
    """The relationships of an image, in VRD's form."""
    found: list[Any] = content["relationships"][f"{i}.jpg"]
    return found


def renamed(content: Content, i: int) -> None:
    content["relationships"][f"../{i}.jpg"] = content["relationships"].pop(f"{i}.jpg")


def listed_kinds(person: Any, cup: Any, classes: int, predicates: int) -> list[Kind]:
    """Kinds of damage of VRD's form."""
    bottom_first = {**cup, "bbox": [12, 8, 14, 18]}
    return [
        Kind(
            "box in another order or not finite",
            lambda x, i: listed(x, i).append(relationship(person, bottom_first, 0)),
            "image {}.jpg, relationship 1",
        ),
        Kind(
            "unknown category",
            lambda x, i: listed(x, i).append(relationship(person, {**cup, "category": classes}, 0)),
            "image {}.jpg, relationship 1",
        ),
        Kind(
            "unknown predicate",
            lambda x, i: listed(x, i).append(relationship(person, cup, predicates)),
            "image {}.jpg, relationship 1",
        ),
        Kind(
            "entity without a category or a box",
            lambda x, i: listed(x, i).append(relationship(person, {"bbox": cup["bbox"]}, 0)),
            "image {}.jpg, relationship 1",
        ),
        Kind(
            "relationship that lacks a part",
            lambda x, i: listed(x, i).append({"subject": person}),
            "image {}.jpg, relationship 1",
        ),
        Kind(
            "image without a list",
            lambda x, i: x["relationships"].update({f"{i}.jpg": None}),
            "image {}.jpg",
        ),
        Kind("name outside the image folder", renamed, "../{}.jpg"),
        Kind("key that occurs twice", lambda x, i: x.setdefault("twice", []).append(i), "'{}.jpg'"),
    ]


def listed_json(content: Content) -> str:
    pairs = [*content["relationships"].items()]
    names = [f"{i}.jpg" for i in content.get("twice", ())]
    pairs += [(name, content["relationships"][name]) for name in names]
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(records)}" for name, records in pairs) + "}"


def write_vrd(folder: Path, content: Content) -> None:
    vrd.write(folder, Damage.NONE)
    (folder / "json_dataset" / vrd.JSON).write_text(listed_json(content))


def write_authors_json(folder: Path, content: Content) -> None:
    (folder / authors_json.RELATIONS).write_text(listed_json(content))
    (folder / authors_json.DETECTIONS).write_text(json.dumps(content["boxes"]))


def authors_boxes(content: Content, i: int) -> list[Any]:
    found: list[Any] = content["boxes"][f"{i}.jpg"]
    return found


def add_row(**changes: Any) -> Callable[[Content, int], Any]:
    """Adds a changed row to an image of OpenImages."""
    return lambda x, i: x["rows"].append({**openimages_row(i), **changes})


def openimages_row(i: int) -> dict[str, Any]:
    f = openimages_vrd
    return f.row(f"{i}", f.MAN, f.LEFT, "plays", f.GUITAR, f.RIGHT)


def write_openimages(folder: Path, content: Content) -> None:
    (folder / "oidv6-validation-annotations-vrd.csv").touch()
    path = folder / openimages_vrd.CSV
    openimages_vrd.write_csv(path, content["rows"])
    long = {str(i) for i in content.get("long", ())}
    lines = path.read_text().splitlines()
    again = [f"{line},more" for line in lines if line.partition(",")[0] in long]
    path.write_text("\n".join([*lines[:3], *again, *lines[3:], ""]))


def array(key: str, value: Any, column: int | None = None, rows: int = 1) -> Callable[[Content, int], Any]:
    """Changes the first row of an image in an array of VG150 that has so many rows for each."""

    def change(content: Content, i: int) -> None:
        row = (i - 1) * rows
        content["arrays"][key][row if column is None else (row, column)] = value

    return change


def record(key: str, **changes: Any) -> Callable[[Content, int], Any]:
    """Changes the record of an image in a list of the content."""
    return lambda x, i: x[key][i - 1].update(changes)


def first_box(**changes: Any) -> Callable[[Content, int], Any]:
    """Changes the first annotation of an image in a COCO-relations file."""
    return lambda x, i: x["annotations"][2 * i - 2].update(changes)


def vg150_content() -> Content:
    photos = [vg150_files.Photo(i) for i in range(1, IMAGES + 1)]
    return {"arrays": vg150_files.h5_arrays(photos), "images": vg150_files.image_data(photos)}


def objects_of(content: Content, i: int) -> list[Any]:
    found: list[Any] = content["objects"][i]
    return found


def write_visual_genome_raw(folder: Path, content: Content) -> None:
    visual_genome_files.write_files(folder, content["objects"], content["relationships"])
    path = folder / "image_data.json"
    images = [x for x in json.loads(path.read_text()) if x["image_id"] not in content.get("unlisted", ())]
    for image in images:
        if image["image_id"] in content.get("flat", ()):
            image["height"] = 0
    again = [image for image in images if image["image_id"] in content.get("twice", ())]
    path.write_text(json.dumps([*images, *again]))
    if content.get("no list"):
        path = folder / "objects.json"
        listed = json.loads(path.read_text())
        for image in listed:
            if image["image_id"] in content["no list"]:
                image["objects"] = None
        path.write_text(json.dumps(listed))


def coco_content() -> Content:
    of = range(1, IMAGES + 1)
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 40} for i in of],
        "annotations": [
            {"id": 10 * i + k, "image_id": i, "category_id": 1 + k, "bbox": [5, 5 + k, 20, 20]}
            for i in of
            for k in (0, 1)
        ],
        "categories": [{"id": i, "name": f"class {i}"} for i in (1, 2)],
        "predicates": [{"id": 1, "name": "predicate"}],
        "relations": [
            {"id": i, "image_id": i, "subject_id": 10 * i, "object_id": 10 * i + 1, "predicate_id": 1}
            for i in of
        ],
    }


def write_coco(folder: Path, content: Content) -> None:
    lists = ("images", "annotations", "categories", "predicates", "relations")
    (folder / coco_relations.FILE).write_text(json.dumps({kind: content[kind] for kind in lists}))


def label_studio_content() -> Content:
    f = label_studio_files
    return {
        "tasks": [
            f.task(i, f.annotation(*label_studio.INTACT), image=f"{i}.png") for i in range(1, IMAGES + 1)
        ]
    }


def results(content: Content, i: int) -> list[Any]:
    found: list[Any] = content["tasks"][i - 1]["annotations"][0]["result"]
    return found


def add_result(result: Callable[[], Any]) -> Callable[[Content, int], Any]:
    return lambda x, i: results(x, i).append(result())


def region(box: tuple[float, ...] = (1, 2, 3, 4), label: str = "cup", **more: Any) -> Callable[[], Any]:
    return lambda: label_studio_files.region("z", label, box, **more)


DATA_SETS = [
    DataSet(
        coco_relations.FORMAT,
        coco_content,
        write_coco,
        "images/{}.jpg",
        [
            Kind("box that has no positive size", first_box(bbox=[5, 5, 0, 9]), "annotation {}0:"),
            Kind("box that is outside its image", first_box(bbox=[55, 5, 9, 9]), "annotation {}0:"),
            Kind("box that is not four numbers", first_box(bbox=[5]), "annotation {}0:"),
            Kind("category_id that 'categories' does not have", first_box(category_id=9), "annotation {}0:"),
            Kind(
                "predicate_id that 'predicates' does not have",
                record("relations", predicate_id=9),
                "relation {}:",
            ),
            Kind(
                "object_id that 'annotations' does not have",
                record("relations", object_id=999),
                "relation {}:",
            ),
            Kind(
                "record of 'images' that lacks a key", lambda x, i: x["images"][i - 1].pop("width"), "(id {})"
            ),
        ],
        (60, 40),
        checked_later=True,
    ),
    DataSet(
        vrd.FORMAT,
        lambda: {"relationships": {f"{i}.jpg": [relationship(PERSON, CUP)] for i in range(1, IMAGES + 1)}},
        write_vrd,
        "sg_dataset/sg_train_images/{}.jpg",
        listed_kinds(PERSON, CUP, 100, 70),
        (40, 30),
    ),
    DataSet(
        authors_json.FORMAT,
        lambda: {
            "relationships": {
                f"{i}.jpg": [relationship(authors_json.PERSON, authors_json.CUP, 0)]
                for i in range(1, IMAGES + 1)
            },
            "boxes": {f"{i}.jpg": [authors_json.CUP] for i in range(1, IMAGES + 1)},
        },
        write_authors_json,
        "{}.jpg",
        listed_kinds(authors_json.PERSON, authors_json.CUP, 2, 2),
        (40, 30),
    ),
    DataSet(
        openimages_vrd.FORMAT,
        lambda: {"rows": [openimages_row(i) for i in range(1, IMAGES + 1)]},
        write_openimages,
        "train/{}.jpg",
        [
            Kind("box outside the image", add_row(XMax2=1.2), "image {}:"),
            Kind("box with swapped corners", add_row(XMin1=0.9), "image {}:"),
            Kind("class of no vocabulary", add_row(LabelName1="/m/0nothing"), "image {}:"),
            Kind("predicate of no vocabulary", add_row(RelationLabel="tunes"), "image {}:"),
            Kind("line with too many fields", lambda x, i: x.setdefault("long", []).append(i), "image {}:"),
            Kind("attribute of no vocabulary", add_row(RelationLabel="is"), "image {}:"),
            Kind("YMin2 is missing or not a number", add_row(YMin2="x"), "image {}:"),
            Kind("LabelName2 is missing or not a name", add_row(LabelName2=""), "image {}:"),
            Kind(
                "id outside the folder of the pictures",
                lambda x, i: x["rows"].append({**openimages_row(i), "ImageID": f"../{i}"}),
                "image ../{}:",
            ),
        ],
        (80, 40),
    ),
    DataSet(
        vg150.FORMAT,
        vg150_content,
        lambda folder, x: vg150_files.write_files(folder, x["arrays"], x["images"]),
        "VG_100K/{}.jpg",
        [
            Kind("row of 'labels'", array("labels", 151, rows=2), "(image {})"),
            Kind("row of 'predicates'", array("predicates", 0), "(image {})"),
            Kind("row of 'boxes_1024'", array("boxes_1024", np.nan, column=2, rows=2), "(image {})"),
            Kind("row of 'relationships'", array("relationships", 99, column=1), "(image {})"),
            Kind("row of 'split'", array("split", 7), "(image {})"),
            Kind("impossible id or size", record("images", width=0), "image_id {} with"),
            Kind("repeated image_id", record("images", image_id=1), "image_id 1 occurs"),
            Kind("record that lacks a key", lambda x, i: x["images"][i - 1].pop("height"), "'image_id': {},"),
        ],
        (512, 384),
        checked_later=True,
    ),
    DataSet(
        visual_genome_raw.FORMAT,
        lambda: {
            "objects": {
                i: [dict(visual_genome_raw.MAN), dict(visual_genome_raw.CUP)] for i in range(1, IMAGES + 1)
            },
            "relationships": {i: [*visual_genome_raw.INTACT] for i in range(1, IMAGES + 1)},
        },
        write_visual_genome_raw,
        "VG_100K/{}.jpg",
        [
            Kind(
                "record of 'objects' of another form",
                lambda x, i: objects_of(x, i).append({"x": 1}),
                "image {},",
            ),
            Kind(
                "record of 'relationships' of another form",
                lambda x, i: x["relationships"][i].append({"predicate": "on"}),
                "image {},",
            ),
            Kind(
                "box that is not finite or has a negative size",
                lambda x, i: objects_of(x, i).append(visual_genome_files.thing(3, "man", 1, 2, -3, 4)),
                "image {},",
            ),
            Kind(
                "image without an id or a list",
                lambda x, i: x.setdefault("no list", []).append(i),
                "image {}",
            ),
            Kind(
                "impossible id or size", lambda x, i: x.setdefault("flat", []).append(i), "image_id {} with"
            ),
            Kind("image that is not listed", lambda x, i: x.setdefault("unlisted", []).append(i), "image {}"),
            Kind("repeated image_id", lambda x, i: x.setdefault("twice", []).append(i), "image_id {} occurs"),
        ],
        (100, 80),
        checked_later=True,
    ),
    DataSet(
        label_studio.FORMAT,
        label_studio_content,
        lambda folder, x: label_studio_files.write_export(folder, *x["tasks"]),
        "photos/{}.png",
        [
            Kind(
                "number that is none or too large",
                add_result(region((1, float("inf"), 2, 3))),
                "task {}, region 'z'",
            ),
            Kind("image with two sizes", add_result(region(original_width=9)), "task {}, region 'z'"),
            Kind(
                "box without its numbers",
                add_result(region(value={"x": 1, "rectanglelabels": ["cup"]})),
                "task {}, region",
            ),
            Kind("class of no vocabulary", add_result(region(label="plate")), "task {}:"),
            Kind(
                "unknown direction",
                add_result(lambda: label_studio_files.relation("a", "b", "on", direction="up")),
                "task {}:",
            ),
            Kind(
                "predicate of no vocabulary",
                add_result(lambda: label_studio_files.relation("a", "b", "under")),
                "task {}:",
            ),
            Kind(
                "id of two boxes",
                add_result(lambda: label_studio_files.region("a", "cup", (5, 5, 5, 5))),
                "task {}, region 'a'",
            ),
            Kind("value of another type", lambda x, i: x["tasks"][i - 1].update(annotations=5), "task {}:"),
            Kind("repeated task", lambda x, i: x["tasks"][i - 1].update(id=1), "task 1:"),
            Kind("task with several images", add_result(region(item_index=1)), "task {}, region 'z'"),
        ],
        (200, 100),
    ),
]


def table(tries: int, seed: int) -> Iterator[str]:
    """The lines of the table in Markdown."""
    yield "| format | kinds of damage | files | damages | found |"
    yield "|---|---|---|---|---|"
    for data_set in DATA_SETS:
        with tempfile.TemporaryDirectory() as folder:
            c = trials(data_set, Path(folder), tries, seed)
        kinds = len({kind.name for kind in data_set.all_kinds()})
        yield f"| {data_set.form.name} | {kinds} | {c.files} | {c.damages} | {c.found} |"
        for text, number in Counter(c.wrong).most_common(5):
            yield f"    {number} x {text[:300]}"


if __name__ == "__main__":
    for line in table(TRIES, 0):
        print(line)
