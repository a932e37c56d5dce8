"""Reads the file that Label Studio exports as "JSON": tasks, their annotations, boxes and relations.

    [{"id": 7, "data": {"image": "/data/local-files/?d=photos/one.jpg"}, "annotations": [
        {"id": 3, "completed_by": 1, "updated_at": "2026-11-02T09:30:00Z", "result": [
            {"id": "k3", "type": "rectanglelabels", "to_name": "image", "original_width": 640,
             "original_height": 480, "image_rotation": 0, "value": {"x": 10, "y": 5, "width": 30,
             "height": 60, "rotation": 0, "rectanglelabels": ["person"]}},
            {"type": "relation", "from_id": "k3", "to_id": "Q9", "direction": "right",
             "labels": ["holds"]}]}]}]

Files of versions before 1.0 have `completions` instead of `annotations`. The file leaves some questions open.
This reader answers them as follows, and counts every case:

* One annotation of a task is taken: one that is marked as ground truth, else the latest by `updated_at`. With
  `annotator`, only those of this person. Skipped annotations are not counted as annotations.
* A task without an annotation is left out, and its predictions are never taken for the truth.
* Boxes are regions of the type `rectanglelabels`, and `rectangle` with `labels` of the same id. Other
  regions, and choices and texts, are left out, and so are relations to them.
* The image of a task is the value of `data` under the key that its boxes name, else the only one that looks
  like a picture. A task without boxes has an image if a value looks like a picture, or stands under the key
  that tasks with boxes use. With `image_key`, boxes on other images of the task are left out.
* `x` and `y` are the upper left corner before the box is turned by `rotation` degrees clockwise around this
  corner. In the editor, `image_rotation` turns only the view: x, y, width and height belong to the image as
  the file has it.
* A box with several labels is an entity for each; its relations hold for each. If several controls of the
  labelling config label it, the labels of the first are taken.
* A relation with several labels is a relationship for each; one without a label is left out. Its direction is
  `right` (or `none`, or missing): from `from_id` to `to_id`; `left`: the other way; `bi`: both. One without
  an end is left out.
"""

import base64
import codecs
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from reldn_d2.utils.json_files import is_side, parse_json
from reldn_d2.utils.plain_text import short, visible
from reldn_d2.utils.refusals import refuse_one
from reldn_d2.utils.system_errors import explained

from ..images import picture_endings

logger = logging.getLogger(__name__)

Id = int | str
Record = dict[str, Any]

#: What is counted -> in words.
COUNTED = {
    "tasks_without_annotation": "tasks without an annotation, left out",
    "skipped_tasks": "skipped tasks, left out",
    "tasks_of_others": "tasks that this annotator did not annotate, left out",
    "tasks_without_image": "tasks without an image (texts, sounds, films), left out",
    "tasks_without_size": "tasks whose image has a size that the file does not say, left out",
    "missing_images": "tasks whose picture is missing, left out",
    "several_annotations": "tasks with several annotations, of which one was taken",
    "images_by_name": "pictures that were found in another folder than their address says",
    "repeated_images": "tasks with the picture of another task",
    "turned_views": "tasks whose image was turned on the screen, which changes no box",
    "rotated_boxes": "rotated boxes, replaced by the upright box around each",
    "mirrored_boxes": "boxes of a negative width or height, which reach to the left or up",
    "clipped_boxes": "boxes that reach out of the image, clipped",
    "boxes_without_area": "boxes without an area in the image, left out",
    "boxes_of_other_images": "boxes on another image of their task, left out",
    "boxes_without_label": "boxes without a label, left out",
    "labels_of_other_controls": "boxes with labels of a second control, left out",
    "boxes_of_several_labels": "boxes with several labels, an entity for each",
    "other_results": "results that are no boxes (polygons, masks, choices, texts), left out",
    "left_relations": "relations of direction 'left', read from to_id to from_id",
    "none_relations": "relations of direction 'none', read from from_id to to_id",
    "bi_relations": "relations of direction 'bi', a relationship each way",
    "relations_of_several_labels": "relations with several labels, a relationship for each",
    "relations_without_label": "relations without a label, left out",
    "relations_to_left_out": "relations to a region that was left out, left out",
    "relations_to_missing": "relations to a region that the file lacks, left out",
}
_BOX_NUMBERS = ("x", "y", "width", "height")
_BOX_TYPES = ("rectanglelabels", "rectangle")
_AS_JSON = "In Label Studio, choose Export, then JSON."
#: Per cent. What lies further away than this comes from no editor, and could overflow.
FARTHEST = 1e6
# Per cent. Two results of one region are the same box up to rounding.
_SAME_BOX = 1e-3


@dataclass(frozen=True)
class Entity:
    """A box with one label.

    Attributes:
        region: id of its region; None if it has none.
        label: its class.
        box: x, y, width, height in per cent of the image's width and height, and rotation in degrees
            clockwise around (x, y).
        score: its score; None if people made it.
    """

    region: Id | None
    label: str
    box: tuple[float, float, float, float, float]
    score: float | None

    def corners(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The upright box around it, XYXY in pixels of an image of this size. It may reach out of it."""
        x, y, w, h, rotation = self.box
        left, top = x * width / 100, y * height / 100
        if not rotation:
            right, bottom = (x + w) * width / 100, (y + h) * height / 100
            return min(left, right), min(top, bottom), max(left, right), max(top, bottom)
        angle = math.radians(rotation)
        sides = [(a * w * width / 100, b * h * height / 100) for a in (0, 1) for b in (0, 1)]
        xs = [left + a * math.cos(angle) - b * math.sin(angle) for a, b in sides]
        ys = [top + a * math.sin(angle) + b * math.cos(angle) for a, b in sides]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Relation:
    """A relationship: positions of subject and object in the task's entities, and the predicate."""

    subject: int
    object: int
    label: str
    score: float | None
    predicate_score: float | None


@dataclass(frozen=True)
class Task:
    """A task with the annotation that was taken.

    Attributes:
        identity: its id; if it has none, its number in the file, from 1, plus the largest id.
        image: the address of its image.
        size: width and height of the image as the file says; None if it does not.
        entities: its entities, in the order of the file.
        relations: its relationships, in the order of the file.
        meta: what the file says about the task besides.
        keys: the keys of its `data`.
    """

    identity: Id
    image: str
    size: tuple[int, int] | None
    entities: list[Entity]
    relations: list[Relation]
    meta: Record
    keys: list[str]


@dataclass
class Counts:
    """What was changed or left out.

    Attributes:
        numbers: key of `COUNTED` -> how often.
        first: key of `COUNTED` -> id of the first task.
    """

    numbers: Counter[str] = field(default_factory=Counter)
    first: dict[str, Id] = field(default_factory=dict)

    def add(self, kind: str, task: Id, number: int = 1) -> None:
        """Counts cases in a task."""
        if number:
            self.numbers[kind] += number
            self.first.setdefault(kind, task)

    def __str__(self) -> str:
        """All cases in one line; empty if there is none."""
        return "; ".join(
            f"{text}: {self.numbers[kind]:,} (first in task {_shown(self.first[kind])})"
            for kind, text in COUNTED.items()
            if self.numbers[kind]
        )

    def log(self, path: str, images: int) -> None:
        """Writes the number of images that a file gave, and all cases, to the log."""
        cases = f"; {self}" if self.numbers else ""
        logger.info("%s: %d images%s", visible(path), images, visible(cases))


class _RefusedError(Exception):
    """A record was refused where refused records are collected: the reader leaves it out and reads on."""


@dataclass(frozen=True)
class _Place:
    """Where a value stands, for messages.

    Attributes:
        file: the file.
        task: `Task.identity`.
        named: what a message calls the task.
        region: id of the region; None: the value is of the task.
    """

    file: str
    task: Id
    named: str
    region: Id | None = None

    def fail(self, kind: str, problem: str, remedy: str) -> NoReturn:
        """Refuses the record, see `reldn_d2.utils.refusals`.

        Raises:
            ValueError: in a training. The message names file, task and region.
            _RefusedError: refused records are collected.
        """
        region = "" if self.region is None else f", region {_shown(self.region)}"
        refuse_one(self.file, kind, f"task {self.named}{region}", problem, remedy)
        raise _RefusedError

    def take(self, record: Record, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        """A value of a record, None if it is missing.

        Raises:
            ValueError, _RefusedError: it has another type.
        """
        value = record.get(key)
        # True is an int for Python.
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        problem = f"{key!r} is {_shown(value)}, not {what}"
        self.fail("value of another type", problem, f"Export it again. {_AS_JSON}")

    def number(self, record: Record, key: str) -> float | None:
        """A finite number of a record, which may be written as a text; None if it is missing."""
        given = self.take(record, key, (int, float, str), "a number")
        if given is None:
            return None
        try:
            value = float(given)
        except (ValueError, OverflowError):
            value = math.nan
        if not abs(value) <= FARTHEST:
            remedy = "Numbers are per cent, degrees or scores: correct it."
            self.fail("number that is none or too large", f"{key!r} is {_shown(given)}", remedy)
        return value

    def flag(self, record: Record, key: str) -> bool:
        """Whether a value of a record is true; 0 and 1 are allowed."""
        value = record.get(key)
        return bool(value) if value in (0, 1) else bool(self.take(record, key, bool, "true or false"))

    def names(self, record: Record, key: str, predicted: bool) -> list[str]:
        """A list of labels of a record, each once, empty if it is missing. Blank ones of people are none."""
        given = self.take(record, key, (list, str), "a list of labels") or []
        names = [given] if isinstance(given, str) else [name for name in given if name is not None]
        for name in names:
            if not isinstance(name, str):
                problem = f"{key!r} holds {_shown(name)}, not a label"
                self.fail("value of another type", problem, f"Export it again. {_AS_JSON}")
        return [name for name in dict.fromkeys(names) if predicted or name.strip()]


def read_export(
    json_file: str | os.PathLike[str],
    *,
    annotator: int | str | None = None,
    image_key: str | None = None,
    with_predictions: bool = False,
) -> tuple[list[Task], Counts]:
    """Reads and checks an export.

    Args:
        json_file: the file.
        annotator: id or e-mail of the person whose annotations are taken; None: of everybody.
        image_key: key of the image in the `data` of a task; None: the file decides, see above.
        with_predictions: whether the last prediction of a task is taken if the task has no annotation.

    Raises:
        ValueError: the file is no such export, or is damaged. The message names file, task and region. Where
            refused records are collected, damaged ones are left out, see `reldn_d2.utils.refusals`.
        OSError: the file can't be read.
    """
    path = os.fspath(json_file)
    counts = Counts()
    chosen, tasks = list[_Chosen](), list[Task]()
    seen, people = set[Id](), set[Id]()
    records = _records(path)
    number, refused = _first_free_id(records), 0
    for position, record in enumerate(records, start=1):
        try:
            place = _placed(path, position, number, record)
            if place.task in seen:
                remedy = "Export again, or remove one of the two tasks."
                place.fail("repeated task", "this id occurs twice", remedy)
            seen.add(place.task)
            annotation, predicted = _choose(place, record, annotator, with_predictions, counts, people)
            if annotation is not None:
                chosen.append(_chosen(place, record, annotation, predicted))
        except _RefusedError:
            refused += 1
    keys = _Keys.of(chosen, image_key)
    for one in chosen:
        try:
            tasks += _tasks(one, keys, counts)
        except _RefusedError:
            refused += 1
    if not (tasks or refused):
        _explain_nothing(path, annotator, people, seen, counts, with_predictions)
    return tasks, counts


def _explain_nothing(
    path: str,
    annotator: int | str | None,
    people: set[Id],
    seen: set[Id],
    counts: Counts,
    with_predictions: bool,
) -> None:
    """Refuses a file that gives no task, unless predictions were asked for, of which there may be none."""
    if annotator is not None:
        named = [str(x) for x in sorted(people, key=str)]
        near = get_close_matches(str(annotator), named, n=1)
        hint = (
            f"Did you mean {near[0]!r}?" if near else f"The annotators are {', '.join(named) or 'not named'}."
        )
        raise ValueError(f"{path}: no annotation is by annotator {annotator!r}. {hint}")
    if with_predictions:
        return
    if not seen:
        raise ValueError(f"{path}: the file holds no task. {_AS_JSON}")
    key = "If these are images, name their key with image_key (--image-key)."
    raise ValueError(
        f"{path}: no task has an annotation of an image ({counts}). Submit annotations in Label Studio; "
        "predictions are not taken for the truth."
        f"{f' {key}' if counts.numbers['tasks_without_image'] else ''}"
    )


def address_paths(address: str) -> list[str]:
    """The paths that an address of an image may mean, the likeliest first, with "/" between folders.

    There is none for a picture that is in the address itself.

    Example:
        >>> from reldn_d2.data.datasets.label_studio_export import address_paths
        >>> address_paths("/data/local-files/?d=photos/one%20a.png")
        ['photos/one a.png', 'photos/one%20a.png']
        >>> address_paths("s3://bucket/x/one.png"), address_paths("50%.png")
        (['/x/one.png'], ['50%.png'])
        >>> address_paths("https://host/serve?file=x/one.png")
        ['/serve', 'x/one.png', '/serve?file=x/one.png']
    """
    if address.startswith("data:"):
        return []
    try:
        parts = urlsplit(address)
        asked = parse_qs(parts.query)
    except ValueError:
        parts, asked = None, {}
    if parts is not None and "fileuri" in asked and _decoded(asked["fileuri"][-1]):
        return address_paths(_decoded(asked["fileuri"][-1]))
    if parts is not None and "d" in asked and parts.path.rstrip("/").endswith("local-files"):
        # A name that was not quoted may hold characters that mean something in an address.
        raw = address.partition("?d=")[2]
        found = [asked["d"][-1], unquote(raw), raw]
    elif parts is not None and parts.netloc:
        raw = address.partition(parts.netloc)[2]
        found = [unquote(parts.path), parts.path]
        if not any(map(is_picture_name, found)):
            found += [value for values in asked.values() for value in values if is_picture_name(value)]
        found.append(raw)
    else:
        # A name of a file, which may hold any character, or a path on the server.
        found = [address, unquote(address), *([] if parts is None else [unquote(parts.path)])]
    return list(dict.fromkeys(path.replace("\\", "/") for path in found))


def inner_parts(path: str) -> list[str]:
    """Folders and name of a path, after the last '..'; the name alone of an uploaded file."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]
    return parts[-1:] if parts[-3:-2] == ["upload"] and parts[-2].isdecimal() else parts


def _decoded(text: str) -> str:
    """The address of a file in a cloud, as Label Studio writes it into its own; empty if it is none."""
    try:
        return base64.urlsafe_b64decode(text.encode()).decode()
    except ValueError:
        return ""


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have the same ratio. An image may be smaller than it was, with rounded sides."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def _records(path: str) -> list[Record]:
    try:
        file = Path(path).read_bytes()
    except OSError as error:
        raise explained(error, path) from error
    try:
        content = parse_json(file, path, unique_keys=True)
    except ValueError as error:
        raise ValueError(f"{error} {_remedy(file)}") from error
    if isinstance(content, list):
        return content
    remedy = _AS_JSON
    if not isinstance(content, dict):
        problem = "the file holds no list of tasks"
    elif {"images", "categories"} <= content.keys():
        problem = "this is a COCO file, which has no relations of Label Studio"
    elif isinstance(content.get("tasks"), list):
        problem, remedy = "the tasks are inside 'tasks'", f"Write this list alone into the file. {_AS_JSON}"
    elif "data" in content:
        problem, remedy = "the file is a single task", f"Write it into a list: [...]. {_AS_JSON}"
    else:
        problem = "the file holds no list of tasks"
    raise ValueError(f"{path}: {problem}. {remedy}")


def _remedy(file: bytes) -> str:
    """What to do with a file that is no JSON."""
    if file.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "The file is UTF-16, as PowerShell writes it: write it again as UTF-8."
    lines = file.splitlines()
    if len(lines) > 1 and all(line.startswith(b"{") for line in lines[:2]):
        return "Each line is a task: write one list of them, [..., ...]."
    return f"If it is no export of Label Studio as JSON: {_AS_JSON}"


def _first_free_id(records: Sequence[Any]) -> int:
    """An integer so large that it and the following ones are no ids of tasks."""
    given = [record.get("id") for record in records if isinstance(record, dict)]
    return max((x for x in map(_whole, given) if type(x) is int and x > 0), default=0)


def _placed(path: str, position: int, largest: int, record: Any) -> _Place:
    """Where a task is.

    Args:
        path: the file.
        position: number of the task in the file, from 1.
        largest: see `_first_free_id`.
        record: the task.
    """
    # An id that is no id of another task.
    place = _Place(path, position + largest, f"number {position} of the file")
    if not isinstance(record, dict):
        place.fail("task that is no object", f"it is {_shown(record)}, not an object", _AS_JSON)
    identity = _whole(place.take(record, "id", (int, str, float), "an integer or a text"))
    if isinstance(identity, float):
        problem = f"'id' is {_shown(identity)}, not an integer or a text"
        place.fail("value of another type", problem, "Correct it.")
    if identity is not None:
        place = _Place(path, identity, _shown(identity))
    if "data" not in record and not {"annotations", "completions"} & record.keys():
        place.fail(
            "task without data and annotations",
            "the task has neither 'data' nor 'annotations', as in JSON-MIN, which drops relations",
            "Export as JSON, not JSON-MIN.",
        )
    return place


def _whole(value: Any) -> Any:
    """A number such as 1.0 as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _choose(
    place: _Place,
    record: Record,
    annotator: int | str | None,
    with_predictions: bool,
    counts: Counts,
    people: set[Id],
) -> tuple[Record | None, bool]:
    """The annotation or prediction of a task that counts, and whether it is a prediction; None: left out."""
    key = "annotations" if "annotations" in record else "completions"
    annotations = _objects(place, record, key)
    usable = []
    for annotation in annotations:
        by = _people(place, annotation)
        people |= by
        if place.flag(annotation, "was_cancelled") or place.flag(annotation, "skipped"):
            continue
        usable.append((annotation, by))
    asked = str(annotator).casefold()
    own = [x for x, by in usable if annotator is None or asked in {str(x).casefold() for x in by}]
    if own:
        if len(usable) > 1:
            counts.add("several_annotations", place.task)
        # Of equal ones the last is taken.
        return own[0] if len(own) == 1 else max(reversed(own), key=partial(_rank, place)), False
    if with_predictions and not annotations:
        predictions = place.take(record, "predictions", list, "a list") or []
        # Exports may name predictions by their ids alone.
        if predictions and isinstance(predictions[-1], dict):
            return predictions[-1], True
    kind = "tasks_of_others" if usable else "skipped_tasks" if annotations else "tasks_without_annotation"
    counts.add(kind, place.task)
    return None, False


def _objects(place: _Place, record: Record, key: str) -> list[Record]:
    found: list[Record] = place.take(record, key, list, "a list") or []
    for one in found:
        if not isinstance(one, dict):
            place.fail(
                "value of another type",
                f"{key!r} holds {_shown(one)}, not an object",
                f"Export whole annotations, not their ids. {_AS_JSON}",
            )
    return found


def _people(place: _Place, annotation: Record) -> set[Id]:
    """Id and e-mail of who made an annotation, as far as the file says."""
    by = place.take(annotation, "completed_by", (int, str, dict), "a person")
    if not isinstance(by, dict):
        return set() if by is None else {by}
    named = [place.take(by, key, (int, str), "an id or a text") for key in ("id", "email")]
    return {name for name in named if name is not None}


def _rank(place: _Place, annotation: Record) -> tuple[bool, float]:
    """Whether an annotation is the truth, and when it was changed."""
    return place.flag(annotation, "ground_truth"), _time(place, annotation)


def _time(place: _Place, annotation: Record) -> float:
    """When an annotation was last changed, in seconds since 1970; minus infinity if nobody can tell."""
    for key in ("updated_at", "created_at"):
        given = place.take(annotation, key, (int, float, str), "a time")
        if given is None:
            continue
        try:
            # Versions before 1.0 write seconds.
            time = given if not isinstance(given, str) else _seconds(given)
            if math.isfinite(time):
                return float(time)
        # Other programs write times as they like, such as "2 days ago".
        except (ValueError, OverflowError):
            continue
    return -math.inf


def _seconds(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True)
class _Chosen:
    """What was taken of a task.

    Attributes:
        place: where it is.
        data: its `data`. A list of one image is one image.
        meta: see `Task.meta`.
        results: the results of the annotation or prediction.
        boxes: those of the results that are boxes.
        pictures: the keys of `data` whose value looks like a picture, or is a list with one.
        predicted: whether it is a prediction.
    """

    place: _Place
    data: Record
    meta: Record
    results: list[Record]
    boxes: list[Record]
    pictures: list[str]
    predicted: bool

    def image_of(self, box: Record) -> str:
        """What a box was drawn on: a key of `data` if it names one, else the tag of the labelling config."""
        names = [str(box.get("source", "")).removeprefix("$"), str(box.get("to_name", ""))]
        return next((name for name in names if name in self.data), names[1])

    def images(self) -> set[str]:
        """What the boxes were drawn on."""
        return {self.image_of(box) for box in self.boxes}


def _chosen(place: _Place, record: Record, annotation: Record, predicted: bool) -> _Chosen:
    data = {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in (place.take(record, "data", dict, "an object") or {}).items()
    }
    meta = record["meta"] if isinstance(record.get("meta"), dict) else {}
    # Tasks that this package wrote say so, whatever their images are called.
    ours = {"image"} if {"file_name", "width", "height"} <= meta.keys() else set[str]()
    pictures = [
        name
        for name, value in data.items()
        if name in ours or _is_picture(value) or (isinstance(value, list) and any(map(_is_picture, value)))
    ]
    results = _objects(place, annotation, "result")
    boxes = [result for result in results if _is_box(result)]
    return _Chosen(place, data, meta, results, boxes, pictures, predicted)


@dataclass(frozen=True)
class _Keys:
    """What the tasks of a file say together about their images.

    Attributes:
        given: the key that the user named; None: the file decides.
        used: the keys of images that tasks with boxes have; if no task has boxes, those of pictures.
        several: whether boxes of the file were drawn on several images or tags.
    """

    given: str | None
    used: frozenset[str]
    several: bool

    @classmethod
    def of(cls, tasks: Sequence[_Chosen], given: str | None) -> "_Keys":
        """The keys of all tasks."""
        marked = [task for task in tasks if task.boxes]
        alone = cls(given, frozenset(), False)
        found = [alone.key(task) for task in marked or tasks]
        images = {name for task in marked for name in task.images()}
        return cls(given, frozenset(key for key in found if key is not None), len(images) > 1)

    def key(self, task: _Chosen) -> str | None:
        """The key of the image of a task; None if it is not clear or there is none."""
        if self.given is not None:
            return self.given
        named = [name for name in task.data if name in (task.images() if task.boxes else self.used)]
        if len(named) == 1:
            # The name of the tag may be that of a key by chance: <Image name="image" value="$url"/>.
            chance = len(task.pictures) == 1 and _is_no_address(task.data[named[0]])
            return task.pictures[0] if chance else named[0]
        found = task.pictures
        if not found and task.boxes:
            found = [name for name, value in task.data.items() if isinstance(value, str) and value.strip()]
        if len(found) == 1:
            return found[0]
        return "image" if "image" in (found or (task.data if task.boxes else ())) else None

    def others(self, task: _Chosen) -> list[Record]:
        """The boxes of a task that were drawn on another image than that of the key.

        Raises:
            ValueError, _RefusedError: the task has several images with boxes, and nobody can tell which boxes
                are meant.
        """
        images = task.images()
        told = images <= task.data.keys()
        if len(images) > 1 and len(task.pictures) > 1 and not (told and self.given is not None):
            keys = _shown(list(task.data))
            task.place.fail(
                "task with several images",
                f"the task has several images, with boxes on {', '.join(map(_shown, sorted(images)))}",
                f"Take those of one image with image_key (--image-key); the keys are {keys}."
                if told
                else "Make a task for each image, and annotate them again.",
            )
        if self.given is None or not self.several:
            return []
        other = {*task.pictures} - {self.given}
        return [box for box in task.boxes if task.image_of(box) in other]


def _tasks(task: _Chosen, keys: _Keys, counts: Counts) -> Iterator[Task]:
    """The task; nothing if it has no image."""
    place, predicted = task.place, task.predicted
    others, image = keys.others(task), _image(task, keys)
    if image is None:
        counts.add("tasks_without_image", place.task)
        return
    counts.add("boxes_of_other_images", place.task, len(others))
    results = [result for result in task.results if not any(result is other for other in others)]
    regions, left_out, size = _regions(place, results, predicted, counts)
    left_out |= {other["id"] for other in others if isinstance(other.get("id"), int | str)}
    entities: list[Entity] = []
    rows: dict[Id, list[int]] = {}
    for region in regions:
        if not region.labels:
            counts.add("boxes_without_label", place.task)
            continue
        if len(region.labels) > 1:
            counts.add("boxes_of_several_labels", place.task)
        if region.box[4]:
            counts.add("rotated_boxes", place.task)
        if min(region.box[2:4]) < 0:
            counts.add("mirrored_boxes", place.task)
        if region.identity is not None:
            rows[region.identity] = list(range(len(entities), len(entities) + len(region.labels)))
        entities += [Entity(region.identity, label, region.box, region.score) for label in region.labels]
    relations: list[Relation] = []
    for result in filter(_is_relation, results):
        with suppress(_RefusedError):
            relations += _relations(place, result, rows, left_out, predicted, counts)
    yield Task(place.task, image, size, entities, relations, task.meta, list(task.data))


@dataclass
class _Region:
    """A box with its labels, which may come from several results of one control.

    Attributes:
        identity: its id; None if it has none.
        box: see `Entity.box`.
        labels: its labels.
        score: its score; None if people made it.
        control: name of the tag of the labelling config that gave the labels.
    """

    identity: Id | None
    box: tuple[float, float, float, float, float]
    labels: list[str]
    score: float | None
    control: Any

    def join(self, labels: list[str], control: Any) -> bool:
        """Adds the labels of another result with its id. Returns whether a second control gave them."""
        if not labels:
            return False
        if self.labels and control != self.control:
            return True
        self.labels, self.control = list(dict.fromkeys([*self.labels, *labels])), control
        return False


def _is_relation(result: Record) -> bool:
    return result.get("type") == "relation" or {"from_id", "to_id"} <= result.keys()


def _is_box(result: Record) -> bool:
    value = result.get("value")
    if result.get("type") in _BOX_TYPES:
        return True
    return isinstance(value, dict) and (
        "rectanglelabels" in value
        or (result.get("type") == "labels" and all(key in value for key in _BOX_NUMBERS))
    )


@dataclass
class _Regions:
    """The regions of a task, as far as they have been read.

    Attributes:
        place: where the task is.
        predicted: whether they are of a prediction.
        boxes: the boxes, in the order of the file.
        by_id: id -> box.
        others: regions that are no boxes, with their ids.
        second: ids of boxes that a second control labels, too.
        refused: ids of refused regions.
        size: width and height of the image; None if no region says it.
        turned: whether the image was turned on the screen.
    """

    place: _Place
    predicted: bool
    boxes: list[_Region] = field(default_factory=list)
    by_id: dict[Id, _Region] = field(default_factory=dict)
    others: list[tuple[Id | None, Record]] = field(default_factory=list)
    second: set[Id | None] = field(default_factory=set)
    refused: set[Id] = field(default_factory=set)
    size: tuple[int, int] | None = None
    turned: bool = False

    def add(self, result: Record) -> None:
        """Reads a region. If it is refused, its id is kept, because relations may name it."""
        try:
            self._add(result)
        except _RefusedError:
            identity = result.get("id")
            self.refused |= {identity} if isinstance(identity, int | str) else set()

    def _add(self, result: Record) -> None:
        identity = self.place.take(result, "id", (int, str), "an integer or a text")
        here = replace(self.place, region=identity)
        if not _is_box(result):
            self.others.append((identity, result))
            return
        turned = bool(here.number(result, "image_rotation"))
        if here.take(result, "item_index", int, "an integer"):
            remedy = "Make a task for each image, and annotate them again."
            here.fail("task with several images", "the task has several images", remedy)
        region = _region(here, identity, result, self.predicted)
        said = _size(here, result)
        if said is not None and self.size is not None and not same_shape(said, self.size):
            problem = "the image has {} x {} pixels, and {} x {} in a region before"
            remedy = "Correct original_width and original_height."
            here.fail("image with two sizes", problem.format(*said, *self.size), remedy)
        known = None if identity is None else self.by_id.setdefault(identity, region)
        if known is None or known is region:
            self.boxes.append(region)
        elif max(abs(a - b) for a, b in zip(known.box, region.box, strict=True)) > _SAME_BOX:
            remedy = "Export again, or give one another id."
            here.fail("id of two boxes", "the id occurs twice, with other boxes", remedy)
        else:
            self.second |= {identity} if known.join(region.labels, region.control) else set()
        self.size, self.turned = self.size or said, self.turned or turned

    def label(self, identity: Id | None, result: Record) -> bool:
        """Adds the labels of a region that is no box to the box of its id. Returns whether there is one."""
        value = result.get("value")
        joined = self.by_id.get(identity) if identity is not None else None
        if joined is None or result.get("type") != "labels" or not isinstance(value, dict):
            return False
        labels = replace(self.place, region=identity).names(value, "labels", self.predicted)
        self.second |= {identity} if joined.join(labels, result.get("from_name")) else set()
        return True


def _regions(
    place: _Place, results: Sequence[Record], predicted: bool, counts: Counts
) -> tuple[list[_Region], set[Id], tuple[int, int] | None]:
    """The boxes, the ids of regions that are left out or have no label, and the size of the image."""
    read = _Regions(place, predicted)
    for result in results:
        if not _is_relation(result):
            read.add(result)
    for identity, result in read.others:
        with suppress(_RefusedError):
            if not read.label(identity, result):
                counts.add("other_results", place.task)
    if read.turned:
        counts.add("turned_views", place.task)
    counts.add("labels_of_other_controls", place.task, len(read.second))
    named = {x.identity for x in read.boxes if not x.labels} | {identity for identity, _ in read.others}
    return read.boxes, {x for x in named if x is not None} | read.refused, read.size


def _region(place: _Place, identity: Id | None, result: Record, predicted: bool) -> _Region:
    value = place.take(result, "value", dict, "an object")
    if value is None:
        place.fail("box without its numbers", "the box has no 'value'", f"Export it again. {_AS_JSON}")
    numbers = [place.number(value, key) for key in _BOX_NUMBERS]
    for key, number in zip(_BOX_NUMBERS, numbers, strict=True):
        if number is None:
            place.fail("box without its numbers", f"the box has no {key!r}", f"Export it again. {_AS_JSON}")
    x, y, w, h = (number for number in numbers if number is not None)
    labels = [name for key in ("rectanglelabels", "labels") for name in place.names(value, key, predicted)]
    rotation = place.number(value, "rotation") or 0.0
    # The scores of predictions stay with the annotations that were made from them, but say nothing there.
    score = place.number(result, "score") if predicted else None
    return _Region(
        identity, (x, y, w, h, rotation), list(dict.fromkeys(labels)), score, result.get("from_name")
    )


def _size(place: _Place, result: Record) -> tuple[int, int] | None:
    sides = [place.number(result, key) for key in ("original_width", "original_height")]
    width, height = map(_whole, sides)
    if width is None or height is None:
        return None
    if not is_side(width) or not is_side(height):
        place.fail(
            "impossible size of an image",
            f"original_width and original_height are {_shown(sides[0])} and {_shown(sides[1])}",
            "They are the size of the image in pixels: correct them, or remove both.",
        )
    return int(width), int(height)


def _relations(
    place: _Place,
    result: Record,
    rows: Mapping[Id, list[int]],
    others: set[Id],
    predicted: bool,
    counts: Counts,
) -> Iterator[Relation]:
    ends = [place.take(result, key, (int, str), "the id of a region") for key in ("from_id", "to_id")]
    direction = place.take(result, "direction", str, "right, left or bi") or "right"
    labels = place.names(result, "labels", predicted)
    where = f"the relation from {_shown(ends[0])} to {_shown(ends[1])}"
    if direction not in ("right", "left", "bi", "none"):
        problem = f"{where} has the direction {_shown(direction)}"
        place.fail("unknown direction", problem, "Write right, left or bi.")
    lost = [end for end in ends if end not in rows]
    if lost:
        gone = any(end not in others for end in lost)
        counts.add("relations_to_missing" if gone else "relations_to_left_out", place.task)
        return
    if not labels:
        counts.add("relations_without_label", place.task)
        return
    if len(labels) > 1:
        counts.add("relations_of_several_labels", place.task)
    if direction != "right":
        counts.add(f"{direction}_relations", place.task)
    here = replace(place, region=f"{ends[0]} -> {ends[1]}")
    score = predicate_score = None
    if predicted:
        score = here.number(result, "score")
        meta = here.take(result, "meta", dict, "an object") or {}
        predicate_score = here.number(meta, "predicate_score")
    pairs = [(subject, object) for subject in rows[ends[0]] for object in rows[ends[1]]]
    back = [pair[::-1] for pair in pairs]
    if direction in ("left", "bi"):
        # Both ways are one for a box with itself.
        pairs = back if direction == "left" else list(dict.fromkeys([*pairs, *back]))
    for label in labels:
        for subject, object in pairs:
            yield Relation(subject, object, label, score, predicate_score)


def _image(task: _Chosen, keys: _Keys) -> str | None:
    """The address of the image of a task, which may be empty; None if the task is no task with an image."""
    key, data = keys.key(task), task.data
    named = f"Name the key of the image with image_key (--image-key); the keys are {_shown(list(data))}."
    if key is None:
        if not task.pictures and not task.boxes:
            return None
        problem = f"'data' has {len(task.pictures)} values that look like a picture"
        task.place.fail("task whose image is not clear", problem, named)
    address = data.get(key)
    if address is None or address == "":
        if key not in data and task.boxes:
            problem = f"{key!r} of 'data' is None, not the address of an image"
            task.place.fail("task whose image is not clear", problem, named)
        return "" if key in data else None
    sure = task.boxes or keys.given is not None or key in task.pictures
    if not sure and not _may_be_picture(address):
        return None
    if isinstance(address, list):
        several = "the task has several images"
        remedy = f"Make a task for each image, and annotate them again. {named}"
        task.place.fail("task with several images", several, remedy)
    if not isinstance(address, str):
        problem = f"{key!r} of 'data' is {_shown(address)}, not the address of an image"
        task.place.fail("task whose image is not clear", problem, named)
    return address


def _may_be_picture(value: Any) -> bool:
    """Whether a value without the ending of a picture may be the address of one."""
    if not isinstance(value, str):
        return False
    kind = guess_type(value)[0] or ""
    return not (re.search(r"\s", value) or kind.startswith(("audio/", "video/", "text/")))


def _is_no_address(value: Any) -> bool:
    """Whether a value is a number or a word, such as an id, and neither empty nor a path."""
    if isinstance(value, str):
        return bool(value.strip()) and not re.search(r"[/\\]", value) and not _is_picture(value)
    return isinstance(value, int | float)


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and any(map(is_picture_name, address_paths(value)))


def is_picture_name(path: str) -> bool:
    """Whether a path has the ending of a picture."""
    return Path(path).suffix.lower() in picture_endings()


def _shown(value: Any) -> str:
    """A value for a message."""
    return short(repr(value))
