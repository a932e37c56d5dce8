"""The files of raw Visual Genome: records as tables, and alias tables for their names.

Names are in the spelling of the annotators. Each line of an alias table has a name and then its aliases, for
example `near,next to` or `bookend,bookends`. A name may have several lines. The tables in use leave some
questions open. They are read as follows:

* Aliases are followed from line to line until a class is found, or a name that is no alias: `near,beside` and
  `beside,is beside` together replace "is beside" by near. A name that is a class stays as it is.
* An alias of two different names is an error, and so is a name that leads back to itself. Spellings that
  differ only in what `clean_name` removes are the same name.
"""

import json
import os
import re
import string
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reldn_d2.utils.json_files import is_id, read_text
from reldn_d2.utils.refusals import refuse_one

_START = re.compile(r"\s*\[\s*")
_NEXT = re.compile(r"\s*,\s*|\s*(?=\])")
_END = re.compile(r"\]\s*\Z")

# Errors that occur when a record of another form is read.
_WRONG_FORM = (KeyError, TypeError, AttributeError, OverflowError)


def clean_name(name: str) -> str:
    """The name in lower case, with single spaces and no punctuation at the end."""
    return " ".join(name.lower().split()).rstrip(string.punctuation + " ")


def read_aliases(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read an alias table. Each line is a name, followed by its aliases.

    Args:
        path: file in UTF-8.

    Returns:
        alias -> the name of its line; both as `clean_name` returns them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8, or is not made of names and commas; no line has an alias; an alias
            belongs to two names, or names lead back to themselves.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Alias table {path} does not exist. Put it there as datasets/README.md shows, or pass None to "
            "use no aliases."
        ) from error
    stands_for: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if '"' in line or "\t" in line:
            raise ValueError(
                f"{path}: line {number}: {line!r:.200} has a quote character or a tab. Write names as they "
                "are, with commas between them."
            )
        name, *aliases = map(clean_name, line.split(","))
        for alias in aliases:
            if alias in ("", name):
                continue
            if stands_for.setdefault(alias, name) != name:
                raise ValueError(
                    f"{path}: line {number}: {alias!r} is an alias of {name!r} here, but of "
                    f"{stands_for[alias]!r} in an earlier line. Remove it from one of the two."
                )
    if "," not in text:
        raise ValueError(
            f"{path}: line 1: neither this nor any other line has an alias. Write lines like `near,next to`, "
            "or pass None to use no aliases."
        )
    for alias in stands_for:
        chain = [alias]
        while chain[-1] in stands_for:
            following = stands_for[chain[-1]]
            if following in chain:
                raise ValueError(f"{path}: the aliases {chain} lead back to {following!r}. Break the circle.")
            chain.append(following)
    return stands_for


class NameCodes:
    """Gives each name a number, its code. Classes come first, in their order; other names follow.

    Attributes:
        num_classes: number of classes; codes below it are classes.
        names: the name of each code.
    """

    def __init__(self, classes: Sequence[str], stands_for: Mapping[str, str]) -> None:
        """Create the codes of the classes.

        Args:
            classes: distinct names.
            stands_for: alias -> name, from `read_aliases`.

        Raises:
            ValueError: two classes have the same name.
        """
        self.num_classes = len(classes)
        self.names = [clean_name(name) for name in classes]
        self._codes = {name: code for code, name in enumerate(self.names)}
        self._stands_for = stands_for
        if len(self._codes) < len(classes):
            repeated = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"The class {repeated!r} is listed twice. Classes need distinct names.")

    def code(self, given: str) -> int:
        """The code of a name that an annotator typed."""
        known = self._codes.get(given)
        if known is None:
            name = clean_name(given)
            while name not in self._codes and name in self._stands_for:
                name = self._stands_for[name]
            known = self._codes.setdefault(name, len(self.names))
            if known == len(self.names):
                self.names.append(name)
            # the spelling is likely to occur again
            self._codes[given] = known
        return known

    def most_frequent(self, codes: NDArray[np.int64], count: int = 5) -> str:
        """The most frequent names among the codes and how often they occur, for a message."""
        totals = np.bincount(codes, minlength=len(self.names))
        order = np.argsort(-totals, kind="stable")[:count]
        return ", ".join(f"{self.names[code]!r} ({totals[code]})" for code in order if totals[code])


class EntityTable:
    """Entity records, one row for each.

    Attributes:
        image: (N,) image ids.
        ids: (N,) object ids.
        names: (N,) codes of the names.
        boxes: (4N,) x, y, width and height of each record.
        merged: (M,) ids that were merged into an object.
        merged_rows: (M,) the row of that object.
    """

    def __init__(self) -> None:
        self.image, self.ids, self.names = array("q"), array("q"), array("q")
        self.boxes = array("d")
        self.merged, self.merged_rows = array("q"), array("q")

    def add(self, image_id: int, record: Any, names: NameCodes) -> None:
        """Add a record. Of several names, the first one that is a class counts; without a class, the first.

        Raises:
            KeyError, TypeError, AttributeError, OverflowError: the record has another form.
        """
        merged = record.get("merged_object_ids", [])
        self.merged.extend(merged)
        self.merged_rows.extend([len(self.ids)] * len(merged))
        self.image.append(image_id)
        self.ids.append(record["object_id"])
        self.boxes.extend((record["x"], record["y"], record["w"], record["h"]))
        spellings = record["names"] if "names" in record else [record["name"]]
        # a string would be read letter by letter
        if not isinstance(spellings, list):
            raise TypeError(f"its names {spellings!r} are not a list")
        codes = [names.code(spelling) for spelling in spellings] or [names.code("")]
        self.names.append(next((code for code in codes if code < names.num_classes), codes[0]))

    def cut(self, count: int) -> None:
        """Keep the first `count` records, without the parts of one that could not be read."""
        del self.image[count:], self.ids[count:], self.names[count:], self.boxes[4 * count :]
        merged = next((row for row, owner in enumerate(self.merged_rows) if owner >= count), len(self.merged))
        del self.merged[merged:], self.merged_rows[merged:]


class RelationshipTable:
    """Relationship records, one row for each.

    Attributes:
        image: (R,) image ids.
        predicates: (R,) codes of the predicates.
        subjects_objects: 2R entity records: the subject and the object of each relationship in turn.
    """

    def __init__(self) -> None:
        self.image, self.predicates = array("q"), array("q")
        self.subjects_objects = EntityTable()

    def add(self, image_id: int, record: Any, predicates: NameCodes, names: NameCodes) -> None:
        """Add a record. It raises the errors of `EntityTable.add`."""
        self.image.append(image_id)
        self.predicates.append(predicates.code(record["predicate"]))
        for entity in (record["subject"], record["object"]):
            self.subjects_objects.add(image_id, entity, names)

    def cut(self, count: int) -> None:
        """Keep the first `count` records, see `EntityTable.cut`."""
        del self.image[count:], self.predicates[count:]
        self.subjects_objects.cut(2 * count)


def read_objects(
    path: str | os.PathLike[str], wanted: Callable[[int], bool], names: NameCodes
) -> tuple[list[int], EntityTable]:
    """Read `objects.json`.

    Args:
        path: the file.
        wanted: function that says whether to read the image with an id.
        names: codes of the entity names; new names are added.

    Returns:
        The ids of the wanted images that the file lists, and their objects.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, or a record has another form; the message names image and object.
    """
    table = EntityTable()
    images = _read(
        path, "objects", wanted, lambda image_id, record: table.add(image_id, record, names), table.cut,
        "object_id", "object_id, names, x, y, w and h",
    )  # fmt: skip
    return images, table


def read_relationships(
    path: str | os.PathLike[str], wanted: Callable[[int], bool], predicates: NameCodes, names: NameCodes
) -> tuple[list[int], RelationshipTable]:
    """Read `relationships.json`.

    Args:
        path: the file.
        wanted: function that says whether to read the image with an id.
        predicates: codes of the predicates; new names are added.
        names: codes of the entity names; new names are added.

    Returns:
        The ids of the wanted images that the file lists, and their relationships.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, or a record has another form; the message names image and
            relationship.
    """
    table = RelationshipTable()
    images = _read(
        path, "relationships", wanted,
        lambda image_id, record: table.add(image_id, record, predicates, names), table.cut,
        "relationship_id",
        "predicate, and subject and object with object_id, name or names, x, y, w and h",
    )  # fmt: skip
    return images, table


def _read(
    path: str | os.PathLike[str],
    kind: str,
    wanted: Callable[[int], bool],
    add: Callable[[int, Any], None],
    cut: Callable[[int], None],
    id_key: str,
    keys: str,
) -> list[int]:
    """Pass each record of the wanted images to `add`.

    Args:
        path: the file.
        kind: the key of the records of an image.
        wanted: function that says whether to read the image with an id.
        add: function that takes the image id and the record.
        cut: function that keeps the first records, after one that could not be read.
        id_key: the key of a record's id, for messages.
        keys: the keys that a record needs, for messages.

    Returns:
        The ids of these images.
    """
    images: dict[int, None] = {}
    added = 0
    for number, member in enumerate(_members(path)):
        try:
            image_id, records = member["image_id"], member[kind]
        except (KeyError, TypeError):
            problem = f"{member!r:.200} lacks image_id or {kind}"
            refuse_one(path, "image that lacks a key", f"image number {number}", problem, "Each needs both.")
            continue
        if not is_id(image_id) or type(records) is not list:
            problem = f"the id is not a 64-bit integer, or {kind!r} is not a list"
            remedy = "An image without any has []."
            refuse_one(path, "image without an id or a list", f"image {image_id!r}", problem, remedy)
            continue
        if not wanted(image_id):
            continue
        if image_id in images:
            remedy = "Join the two or remove one."
            refuse_one(path, "repeated image", f"image {image_id}", "it is listed twice", remedy)
            continue
        images[image_id] = None
        for index, record in enumerate(records):
            try:
                add(image_id, record)
                added += 1
            except _WRONG_FORM as error:
                identity = record.get(id_key) if isinstance(record, dict) else None
                where = f"image {image_id}, record {index} of {kind!r} ({id_key} {identity})"
                problem = f"{record!r:.600} cannot be read ({type(error).__name__}: {error})"
                refuse_one(path, f"record of {kind!r} of another form", where, problem, f"It needs {keys}.")
                cut(added)
    return list(images)


def _members(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The members of a JSON list, decoded one by one, because the whole list would need much more memory."""
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Visual Genome's {os.fspath(path)} does not exist. Check DETECTRON2_DATASETS and unpack the "
            "file as datasets/README.md shows."
        ) from error
    decoder = json.JSONDecoder()
    separator = _START.match(text)
    with tqdm(
        desc=Path(path).name, total=len(text), unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        while separator and not _END.match(text, separator.end()):
            try:
                member, position = decoder.raw_decode(text, separator.end())
            # RecursionError: the lists are nested too deeply
            except (ValueError, RecursionError) as error:
                _fail(path, "the file", f"not valid JSON ({error})", "It may be cut off: unpack it again.")
            yield member
            bar.update(position - bar.n)
            separator = _NEXT.match(text, position)
    if not separator:
        _fail(path, "the file", "not a JSON list, or it is cut off", "Unpack the official file again.")


def _fail(path: str | os.PathLike[str], where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}: {where}: {problem}. {remedy}")
