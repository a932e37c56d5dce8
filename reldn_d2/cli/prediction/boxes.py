"""The boxes of --boxes: from COCO's files, from graphs that `reldn predict` wrote, or by file name."""

import hashlib
import json
import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from detectron2.structures import BoxMode

from reldn_d2.engine import GivenBoxes
from reldn_d2.scene_graphs import checked_graph
from reldn_d2.structures.vocabulary import nearest_names
from reldn_d2.utils.counted import counted
from reldn_d2.utils.io import digest
from reldn_d2.utils.json_files import is_box, parse_json
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.system_errors import explained

from .images import InputImage

_LINES = (".jsonl", ".ndjson")
_FORMS = (
    "COCO results (a list of records with image_id, bbox, category_id, score), a COCO file (images, "
    "annotations, "
    'categories), a graph of reldn predict, a list of them or one a line, or {"a.jpg": {"boxes": [[x0, y0, '
    'x1, y1], ...], "classes": [...], "scores": [...]}, ...}'
)

# What an image is called in a boxes file: a path, a name, or a number.
_Key = str | int


# A file may have millions of boxes, so they are held as plain numbers, which need an eighth of the memory
# that lists need.
@dataclass
class _Rows:
    """The boxes of one image, as they stand in the file.

    Attributes:
        mode: what the numbers of a box are.
        numbers: four for each box, in pixels.
        classes: one for each box; None where the file has none.
        scores: one for each box; NaN where the file has none.
        problem: what is wrong with the first box that can't be used; empty if nothing is.
    """

    mode: BoxMode = BoxMode.XYXY_ABS
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    classes: list[str | int | None] = field(default_factory=list)
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    problem: str = ""

    def add(self, box: Iterable[float], name: str | int | None, score: float | None) -> None:
        self.numbers.extend(box)
        # Each name is in memory once.
        self.classes.append(sys.intern(name) if isinstance(name, str) else name)
        self.scores.append(math.nan if score is None else score)

    def without(self, unknown: set[str | int | None]) -> "_Rows":
        """The rows of other classes."""
        kept = _Rows(self.mode, problem=self.problem)
        for place, name in enumerate(self.classes):
            if name not in unknown:
                kept.add(self.numbers[4 * place : 4 * place + 4], name, self.scores[place])
        return kept

    def corners(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """(E, 4) XYXY in pixels."""
        boxes = np.array(self.numbers).reshape(-1, 4)
        return np.asarray(BoxMode.convert(boxes, self.mode, BoxMode.XYXY_ABS))


class BoxesFile:
    """Boxes for the images of --input.

    Attributes:
        digest: SHA-256 of the files.
    """

    def __init__(self, source: str, rows: dict[_Key, _Rows], content_digest: str) -> None:
        """Takes what `read` has read.

        Args:
            source: the option and the file, for messages.
            rows: what the file calls an image -> its boxes.
            content_digest: see `digest`.
        """
        self._source, self._rows, self.digest = source, rows, content_digest
        # The file may call an image by a folder that is not in --input.
        files = [(key.rpartition("/")[2], key) for key in rows if isinstance(key, str)]
        number = Counter(name for name, _ in files)
        self._by_file_name: dict[_Key, _Key] = {name: key for name, key in files if number[name] == 1}
        self._ambiguous: dict[str, list[str]] = {}
        for name, key in files:
            if number[name] > 1:
                self._ambiguous.setdefault(name, []).append(key)
        self._shared: Counter[_Key] = Counter()
        self._used: set[_Key] = set()

    @classmethod
    def read(cls, path: Path, annotations: Path | None) -> Self:
        """Reads a boxes file.

        Args:
            path: see `_FORMS`.
            annotations: COCO file with the images and categories that the numbers in COCO results stand for.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file has none of the forms, or a record is wrong. The message names the record.
        """
        for option, file in (("--boxes", path), ("--annotations", annotations)):
            if file is not None and not file.is_file():
                raise FileNotFoundError(f"{option} {file}: there is no such file")
        hashes = [hashlib.sha256() for _ in (path, annotations)]
        names, uses_names = _Names({}, {}), False
        if annotations is not None:
            names = _Names.of(_json_of(annotations, hashes[1]), annotations)
        content = None if path.suffix.lower() in _LINES else _json_of(path, hashes[0])
        if path.suffix.lower() in _LINES:
            rows = _from_graphs(path, _lines_of(path, hashes[0]))
        elif isinstance(content, Mapping) and {"images", "annotations"} <= content.keys():
            names = _Names.of(content, path)
            rows = _from_records(path, content["annotations"], names)
        elif isinstance(content, Mapping) and "entities" in content:
            rows = _from_graphs(path, [content])
        elif isinstance(content, Mapping):
            rows = _from_mapping(path, content)
        elif isinstance(content, list) and all(isinstance(x, Mapping) and "entities" in x for x in content):
            rows = _from_graphs(path, content)
        elif isinstance(content, list):
            rows, uses_names = _from_records(path, content, names), True
        else:
            raise ValueError(f"--boxes {path} has another form than these: {_FORMS}")
        if annotations is not None and not uses_names:
            raise ValueError(f"--annotations {annotations} is for COCO results, which --boxes {path} is not")
        return cls(f"--boxes {path}", rows, digest(found.digest() for found in hashes))

    def fit(self, images: Sequence[InputImage], thing_classes: Sequence[str], *, drop_unknown: bool) -> None:
        """Prepares the boxes for some images and a model.

        Args:
            images: all images.
            thing_classes: names of the model's classes.
            drop_unknown: leave out, and count, boxes of classes that the model does not know.

        Raises:
            ValueError: the model does not know a class. The message has the nearest names.
        """
        self._shared = Counter(key for image in images for key in dict.fromkeys(_short_names(image)))
        known: set[str | int | None] = {None, *thing_classes, *range(len(thing_classes))}
        unknown = Counter(name for rows in self._rows.values() for name in rows.classes if name not in known)
        if not unknown:
            return
        if not drop_unknown:
            raise ValueError(f"{self._source}: {_unknown(unknown, thing_classes)}")
        self._rows = {key: rows.without(set(unknown)) for key, rows in self._rows.items()}
        say(
            f"{visible(self._source)}: left out {counted(sum(unknown.values()), 'box', 'boxes')} of "
            f"{counted(len(unknown), 'class', 'classes')} unknown to the model, such as "
            f"{visible(str(unknown.most_common(1)[0][0]))}"
        )

    def find(self, image: InputImage) -> str | int:
        """What the file calls an image.

        Raises:
            ValueError: it has no boxes for this image, several images share the name that it has, or it has
                several names of this image.
        """
        own = [*_long_names(image), *(name for name in _short_names(image) if self._shared[name] == 1)]
        keys = list(dict.fromkeys(key for key in own if key in self._rows))
        if len(keys) > 1:
            raise ValueError(
                f"{self._source} has boxes of {keys[0]!r} and of {keys[1]!r}, which both are this image: put "
                "them together"
            )
        if keys:
            return keys[0]
        for name in _short_names(image):
            key = name if name in self._rows else self._by_file_name.get(name)
            if key is None:
                continue
            if self._shared[name] > 1:
                raise ValueError(
                    f"{self._source} has boxes of {key!r}, and {self._shared[name]} images of --input are "
                    f"called so: name this one {image.path} there"
                )
            return key
        several = self._ambiguous.get(image.path.name)
        if several:
            raise ValueError(
                f"{self._source} has boxes of {several[0]!r} and of {several[1]!r}, and does not say which "
                f"one is this image: name it {image.path} there"
            )
        raise ValueError(f"{self._source} has no boxes for it: add an entry, or leave the image out")

    def of(self, image: InputImage) -> GivenBoxes:
        """The boxes of an image.

        Raises:
            ValueError: see `find`; or a box is wrong, or only some have a class or a score.
        """
        key = self.find(image)
        self._used.add(key)
        rows = self._rows[key]
        if rows.problem:
            raise ValueError(f"{self._source}: {rows.problem}")
        where = f"{self._source}, boxes of {key!r}"
        classes = [name for name in rows.classes if name is not None]
        no_class = _lacks([name is None for name in rows.classes], where, "class")
        no_score = _lacks([math.isnan(score) for score in rows.scores], where, "score")
        try:
            return GivenBoxes(
                rows.corners(),
                None if no_class else classes,
                None if no_score else np.array(rows.scores),
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    @property
    def unused(self) -> int:
        """How many images in the file were not asked for."""
        return len(self._rows.keys() - self._used)


def _long_names(image: InputImage) -> list[_Key]:
    """What only this image can be called."""
    return [str(image.path), image.path.as_posix(), image.name]


def _short_names(image: InputImage) -> list[_Key]:
    """What an image can be called if no other has this name."""
    stem = image.path.stem
    # COCO's images are called 000000000139.jpg and have the number 139.
    number: list[_Key] = [int(stem)] if stem.isascii() and stem.isdigit() else []
    return [image.path.name, stem, *number]


@dataclass(frozen=True)
class _Names:
    """What the numbers in COCO's records stand for.

    Attributes:
        images: id -> file name.
        categories: id -> name.
        source: the file that says so; empty if none does.
    """

    images: Mapping[Any, str]
    categories: Mapping[Any, str]
    source: str = ""

    @classmethod
    def of(cls, content: Any, path: Path) -> Self:
        found: list[dict[Any, str]] = []
        for part, value in (("images", "file_name"), ("categories", "name")):
            records = content.get(part, []) if isinstance(content, Mapping) else None
            if not isinstance(records, list):
                raise ValueError(f"{path} has no list {part!r}: give a COCO file")
            for place, record in enumerate(records):
                if not isinstance(record, Mapping) or value not in record or not _is_id(record.get("id")):
                    raise ValueError(f"{path}: {part}[{place}] has no 'id' and {value!r}: give a COCO file")
            found.append(_named(records, value, f"{path}: {part}"))
        _refuse_repeated(found[0].values(), f"{path}: images have the file_name")
        return cls(images=found[0], categories=found[1], source=str(path))


def _named(records: list[Mapping[str, Any]], value: str, where: str) -> dict[Any, str]:
    _refuse_repeated((record["id"] for record in records), f"{where} have the id")
    return {record["id"]: str(record[value]) for record in records}


def _refuse_repeated(values: Iterable[Any], what: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value!r} twice: give each another one")
        seen.add(value)


def _from_records(path: Path, records: Any, names: _Names) -> dict[_Key, _Rows]:
    """Boxes of COCO's annotations or results. An image without any has no box, if its file is known."""
    rows: dict[_Key, _Rows] = {name: _Rows(BoxMode.XYWH_ABS) for name in names.images.values()}
    crowds = 0
    for place, record in enumerate(_checked_list(path, records)):
        where = f"--boxes {path}: record {place}"
        if not isinstance(record, Mapping) or not _is_id(record.get("image_id")) or "bbox" not in record:
            raise ValueError(f"{where} has no image_id and bbox. Known forms: {_FORMS}")
        if record.get("iscrowd"):
            crowds += 1
            continue
        key = names.images.get(record["image_id"], record["image_id"])
        if names.images and isinstance(key, int):
            raise ValueError(
                f"{where} is of image_id {key!r}, which is not among the images of {names.source or path}: "
                "give the COCO file that the results are of, as --annotations"
            )
        image = rows.setdefault(key, _Rows(BoxMode.XYWH_ABS))
        box = record["bbox"]
        if not is_box(box) or not (box[2] > 0 and box[3] > 0):
            image.problem = image.problem or (
                f"record {place} has the bbox {box!r}: four numbers x, y, width, height in pixels, the last "
                "two above 0"
            )
            continue
        image.add(box, _category(record, names, where), _score(record, where))
    if crowds:
        say(f"--boxes {visible(str(path))}: left out {counted(crowds, 'crowd', 'crowds')}")
    return rows


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _category(record: Mapping[str, Any], names: _Names, where: str) -> str | None:
    category = record.get("category_id", record.get("category_name"))
    if category is None or isinstance(category, str):
        return category
    if not _is_id(category) or category not in names.categories:
        there = f"{names.source} has no such category" if names.source else "nothing says which class it is"
        raise ValueError(
            f"{where} has the category_id {category!r}, and {there}: give the COCO file with these "
            "categories as --annotations, or write the class's name in place of the number"
        )
    return names.categories[category]


def _from_graphs(path: Path, graphs: Iterable[Mapping[str, Any]]) -> dict[_Key, _Rows]:
    rows: dict[_Key, _Rows] = {}
    for place, graph in enumerate(graphs):
        where = f"--boxes {path}: graph {place}"
        image = graph.get("image")
        name = image.get("file_name") if isinstance(image, Mapping) else None
        if not isinstance(name, str) or not name:
            raise ValueError(f"{where} has no image.file_name: write the name of its image there")
        if name in rows:
            raise ValueError(f"{where} is of {name!r}, as an earlier graph: remove one of them")
        # A graph that somebody made for this file has no version, and may say less than ours.
        if "version" in graph:
            checked_graph(graph, where)
        rows[name] = of_image = _Rows()
        for entity in _checked_list(path, graph["entities"]):
            if not isinstance(entity, Mapping) or not is_box(entity.get("box")):
                raise ValueError(f"{where} has an entity without a box [x0, y0, x1, y1]: {entity!r:.200}")
            of_image.add(entity["box"], _class(entity.get("class"), where), _score(entity, where))
    return rows


def _from_mapping(path: Path, content: Mapping[str, Any]) -> dict[_Key, _Rows]:
    rows: dict[_Key, _Rows] = {}
    for name, given in content.items():
        where = f"--boxes {path}: {name!r}"
        if not isinstance(given, Mapping) or not isinstance(given.get("boxes"), list):
            raise ValueError(f"{where} has no list 'boxes'. Known forms: {_FORMS}")
        boxes = given["boxes"]
        columns = []
        for key in ("classes", "scores"):
            values = given.get(key)
            if values is not None and (not isinstance(values, list) or len(values) != len(boxes)):
                raise ValueError(
                    f"{where} has {len(boxes)} boxes: give {key!r} as a list with one for each box"
                )
            columns.append([None] * len(boxes) if values is None else values)
        rows[name] = of_image = _Rows()
        for place, (box, class_name, score) in enumerate(zip(boxes, *columns, strict=True)):
            if not is_box(box):
                raise ValueError(f"{where}: box {place} is {box!r:.200}: give [x0, y0, x1, y1] in pixels")
            of_image.add(box, _class(class_name, where), _score({"score": score}, where))
    return rows


def _class(value: Any, where: str) -> str | int | None:
    if value is None or isinstance(value, str) or type(value) is int:
        return value
    raise ValueError(
        f"{where} has the class {value!r:.200}: give a name, or the number of a class of the model"
    )


def _score(record: Mapping[str, Any], where: str) -> float | None:
    score = record.get("score")
    if score is None or (type(score) in (int, float) and 0 <= score <= 1):
        return score
    raise ValueError(f"{where} has the score {score!r:.200}: scores are from 0 to 1")


def _lacks(missing: Sequence[bool], where: str, what: str) -> bool:
    """Whether no box has a class or score. All have one if there is no box.

    Raises:
        ValueError: only some have one.
    """
    number = sum(missing)
    if 0 < number < len(missing):
        raise ValueError(f"{where}: {number} of {len(missing)} have no {what}: give all of them one, or none")
    return number > 0


def _checked_list(path: Path, records: Any) -> list[Any]:
    if not isinstance(records, list):
        raise ValueError(f"--boxes {path} has another form than these: {_FORMS}")
    return records


def _json_of(path: Path, read: "hashlib._Hash") -> Any:
    """The content of a JSON file, which is read once.

    Args:
        path: the file.
        read: takes what was read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise explained(error, path) from error
    read.update(content)
    return parse_json(content, path, unique_keys=True)


def _lines_of(path: Path, read: "hashlib._Hash") -> Iterator[Any]:
    """The graphs in a file with one a line. One at a time is in memory. For `read` see `_json_of`."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            read.update(line)
            if not line.strip():
                continue
            try:
                graph = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f"--boxes {path}: line {number} is not JSON ({error}): write it again"
                ) from error
            if not isinstance(graph, Mapping) or "entities" not in graph:
                raise ValueError(
                    f"--boxes {path}: line {number} is no graph of reldn predict: it has no 'entities'"
                )
            yield graph


def _unknown(unknown: Counter[str | int | None], thing_classes: Sequence[str]) -> str:
    name, number = unknown.most_common(1)[0]
    near = nearest_names(str(name), thing_classes)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    other = counted(len(unknown) - 1, "other class", "other classes")
    others = f", nor {other} of the file" if len(unknown) > 1 else ""
    return (
        f"the model does not know the class {name!r} of {counted(number, 'box', 'boxes')}{others}.{hint} "
        "Rename it, or add --drop-unknown-classes. The model knows "
        f"{', '.join(map(repr, thing_classes[:10]))}"
        f"{f' and {len(thing_classes) - 10} more' if len(thing_classes) > 10 else ''}"
    )
