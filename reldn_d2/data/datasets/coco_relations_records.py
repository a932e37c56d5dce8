"""The lists of records in a COCO-relations file, and how one names records of another."""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.json_files import read_json

Id = int | str
Record = dict[str, Any]

_REQUIRED_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
    "predicates": ("id", "name"),
    "relations": ("id", "image_id", "subject_id", "object_id", "predicate_id"),
}


@dataclass(frozen=True)
class Table:
    """One list of the file.

    Attributes:
        json_file: the file, for messages.
        kind: the name of the list.
        records: all have the keys that the list needs.
        rows: id -> position in `records`.
    """

    json_file: str
    kind: str
    records: list[Record]
    rows: dict[Id, int]

    def fail(self, row: int, problem: str, remedy: str) -> NoReturn:
        """
        Raises:
            ValueError: always; it names the file and the record.
        """
        where = f"{self.kind.removesuffix('s')} {self.records[row]['id']!r}"
        _fail(self.json_file, where, problem, remedy)

    def look_up(self, row: int, identity: Any, target: "Table") -> int:
        """The row of `target` that has the id which a record of this list names.

        Raises:
            ValueError: there is none.
        """
        # `true` would find 1
        found = target.rows.get(identity) if type(identity) in (int, str) else None
        if found is None:
            remedy = f"Add the record to {target.kind!r} or correct the id."
            self.fail(row, f"{target.kind!r} has no id {identity!r}", remedy)
        return found

    def look_up_all(self, key: str, target: "Table") -> NDArray[np.int64]:
        """For each record of this list the row of `target` that its `key` names.

        Raises:
            ValueError: an id that `target` does not have.
        """
        rows = (self.look_up(row, record[key], target) for row, record in enumerate(self.records))
        return np.fromiter(rows, dtype=np.int64, count=len(self.records))


def read_json_object(json_file: str) -> Record:
    """
    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds something else than a JSON object.
    """
    content = read_json(json_file)
    if not isinstance(content, dict):
        _fail(json_file, "the file", "the top level is no object", f"It must hold {list(_REQUIRED_KEYS)}.")
    return content


def take_table(json_file: str, content: Record, kind: str) -> Table:
    """Take a list out of `content`, so that its memory is freed with the table.

    Raises:
        ValueError: no such list, a record without a key that it needs, or an id that is none or occurs twice.
    """
    records = content.pop(kind, None)
    if not isinstance(records, list):
        _fail(json_file, f"{kind!r}", "missing or not a list", "Add the list; it may be empty.")
    rows: dict[Id, int] = {}
    for row, record in enumerate(records):
        where = f"record {row} of {kind!r}"
        if not isinstance(record, dict):
            _fail(json_file, where, "not an object", f"It needs the keys {_REQUIRED_KEYS[kind]}.")
        missing = [key for key in _REQUIRED_KEYS[kind] if key not in record]
        if missing:
            _fail(json_file, f"{where} (id {record.get('id')!r})", f"lacks {missing}", "Add the keys.")
        identity = record["id"]
        if isinstance(identity, bool) or not isinstance(identity, int | str):
            _fail(json_file, where, f"its id {identity!r} is no integer or string", "Give it a proper id.")
        if rows.setdefault(identity, row) != row:
            _fail(json_file, where, f"the id {identity!r} occurs twice in {kind!r}", "Ids must be unique.")
    return Table(json_file, kind, records, rows)


def take_classes(json_file: str, content: Record, kind: str) -> Table:
    """Take categories or predicates out of `content`, in the order of their ids: rows are class numbers.

    Raises:
        ValueError: as for `take_table`, an id that is no integer, a name or label that is no string, a name that occurs
            twice, or labels that only some of the classes have.
    """
    given = take_table(json_file, content, kind)
    id_of_name: dict[str, int] = {}
    labelled = any("label" in record for record in given.records)
    for record in given.records:
        where = f"record {record['id']!r} of {kind!r}"
        if not isinstance(record["id"], int) or not isinstance(record["name"], str):
            _fail(json_file, where, "the id is no integer or the name no string", "Classes need both.")
        if id_of_name.setdefault(record["name"], record["id"]) != record["id"]:
            problem = f"it has the name {record['name']!r}, as record {id_of_name[record['name']]!r} has"
            _fail(json_file, where, problem, "Give classes distinct names.")
        if labelled and not isinstance(record.get("label"), str):
            remedy = "Give every class of the list a label, or none."
            _fail(json_file, where, "it has no label that is a string, and others have one", remedy)
    records = sorted(given.records, key=lambda record: int(record["id"]))
    return Table(json_file, kind, records, {record["id"]: row for row, record in enumerate(records)})


def _fail(json_file: str, where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{json_file}: {where}: {problem}. {remedy}")
