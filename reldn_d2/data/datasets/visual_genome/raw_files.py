"""The files of raw Visual Genome as tables: each is read once, an image at a time, and no record is kept."""

import json
import os
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from reldn_d2.utils.json_files import is_id, read_text

from .aliases import NameCodes

_START = re.compile(r"\s*\[\s*")
_NEXT = re.compile(r"\s*,\s*|\s*(?=\])")
_END = re.compile(r"\]\s*\Z")


class EntityTable:
    """Entity records, one a row.

    Attributes:
        image: (N,) image ids.
        ids: (N,) object ids.
        names: (N,) codes of the names.
        boxes: (4N,) x, y, width and height of each.
        merged, merged_rows: (M,) ids that were merged into an object, and the row of that object.
    """

    def __init__(self) -> None:
        self.image, self.ids, self.names = array("q"), array("q"), array("q")
        self.boxes = array("d")
        self.merged, self.merged_rows = array("q"), array("q")

    def add(self, image_id: int, record: Any, names: NameCodes) -> None:
        """Add a record; of several names the first that is a class counts, or else the first.

        Raises:
            What `_WRONG_FORM` lists: a record of another form.
        """
        merged = record.get("merged_object_ids", [])
        self.merged.extend(merged)
        self.merged_rows.extend([len(self.ids)] * len(merged))
        self.image.append(image_id)
        self.ids.append(record["object_id"])
        self.boxes.extend((record["x"], record["y"], record["w"], record["h"]))
        spellings = record["names"] if "names" in record else [record["name"]]
        # a string can be iterated too
        if not isinstance(spellings, list):
            raise TypeError(f"its names {spellings!r} are no list")
        codes = [names.code(spelling) for spelling in spellings] or [names.code("")]
        self.names.append(next((code for code in codes if code < names.num_classes), codes[0]))


class RelationshipTable:
    """Relationship records, one a row.

    Attributes:
        image: (R,) image ids.
        predicates: (R,) codes of the predicates.
        ends: (2R) rows: subject and object of each relationship in turn.
    """

    def __init__(self) -> None:
        self.image, self.predicates = array("q"), array("q")
        self.ends = EntityTable()

    def add(self, image_id: int, record: Any, predicates: NameCodes, names: NameCodes) -> None:
        """Add a record; raises as `EntityTable.add`."""
        self.image.append(image_id)
        self.predicates.append(predicates.code(record["predicate"]))
        for end in (record["subject"], record["object"]):
            self.ends.add(image_id, end, names)


def read_objects(
    path: str | os.PathLike[str], wanted: Callable[[int], bool], names: NameCodes
) -> tuple[list[int], EntityTable]:
    """Read `objects.json`.

    Args:
        wanted: whether to read an image, by its id.
        names: codes of entity names.

    Returns:
        The ids of the images that it lists, and the objects.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or a record of another form; the message names image and object.
    """
    table = EntityTable()
    images = _read(
        path, "objects", wanted, lambda image_id, record: table.add(image_id, record, names),
        "object_id", "object_id, names, x, y, w and h",
    )  # fmt: skip
    return images, table


def read_relationships(
    path: str | os.PathLike[str], wanted: Callable[[int], bool], predicates: NameCodes, names: NameCodes
) -> tuple[list[int], RelationshipTable]:
    """Read `relationships.json`. Arguments, result and errors are those of `read_objects`."""
    table = RelationshipTable()
    images = _read(
        path, "relationships", wanted, lambda image_id, record: table.add(image_id, record, predicates, names),
        "relationship_id", "predicate, and subject and object with object_id, name or names, x, y, w and h",
    )  # fmt: skip
    return images, table


# What reading a record of another form raises.
_WRONG_FORM = (KeyError, TypeError, AttributeError, OverflowError)


def _read(
    path: str | os.PathLike[str],
    kind: str,
    wanted: Callable[[int], bool],
    add: Callable[[int, Any], None],
    id_key: str,
    keys: str,
) -> list[int]:
    """Pass each record of the wanted images to `add`; the ids of these images."""
    images: dict[int, None] = {}
    for number, member in enumerate(_members(path)):
        try:
            image_id, records = member["image_id"], member[kind]
        except (KeyError, TypeError):
            _fail(
                path,
                f"image number {number}",
                f"{member!r:.200} lacks image_id or {kind}",
                "Each needs both.",
            )
        if not is_id(image_id) or type(records) is not list:
            problem = f"the id is no integer of 64 bits or {kind!r} no list"
            _fail(path, f"image {image_id!r}", problem, "An image without any has [].")
        if not wanted(image_id):
            continue
        if image_id in images:
            _fail(path, f"image {image_id}", "it is listed twice", "Join the two or remove one.")
        images[image_id] = None
        for index, record in enumerate(records):
            try:
                add(image_id, record)
            except _WRONG_FORM as error:
                identity = record.get(id_key) if isinstance(record, dict) else None
                where = f"image {image_id}, record {index} of {kind!r} ({id_key} {identity})"
                problem = f"{record!r:.600} cannot be read ({type(error).__name__}: {error})"
                _fail(path, where, problem, f"It needs {keys}.")
    return list(images)


def _members(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The members of a JSON list, decoded one by one: all at once take many times the memory of their text."""
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Visual Genome's {os.fspath(path)} does not exist. Check DETECTRON2_DATASETS and unpack the file as "
            "datasets/README.md shows."
        ) from error
    decoder = json.JSONDecoder()
    separator = _START.match(text)
    with tqdm(
        desc=Path(path).name, total=len(text), unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        while separator and not _END.match(text, separator.end()):
            try:
                member, position = decoder.raw_decode(text, separator.end())
            # the latter when lists are nested too deeply
            except (ValueError, RecursionError) as error:
                _fail(path, "the file", f"not valid JSON ({error})", "It may be cut off: unpack it again.")
            yield member
            bar.update(position - bar.n)
            separator = _NEXT.match(text, position)
    if not separator:
        _fail(path, "the file", "not a JSON list, or one that breaks off", "Unpack the official file again.")


def _fail(path: str | os.PathLike[str], where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}: {where}: {problem}. {remedy}")
