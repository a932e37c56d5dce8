"""The columns of tables with a row for each relationship, and the graphs that such rows make."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from .checking import checked_graph
from .graph import CORNERS, FORMAT_VERSION, SceneGraph

logger = logging.getLogger(__name__)

_ROLES: tuple[Literal["subject", "object"], ...] = ("subject", "object")
#: Name of a column -> the type of its values. "score" is that of the triplet; the score of the predicate is
#: missing where a graph has none. "id" is the entity's number in the graph; boxes are XYXY in pixels.
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("image", "subject", "predicate", "object"), str),
    **dict.fromkeys(("score", "subject_score", "predicate_score", "object_score"), float),
    **dict.fromkeys(("subject_id", "object_id"), int),
    **{f"{role}_{corner}": float for role in _ROLES for corner in CORNERS},
    **dict.fromkeys(("image_width", "image_height"), int),
}
_SCORES = frozenset(name for name in COLUMNS if name.endswith("score"))

Value = str | float | int | None


def rows_of(graph: SceneGraph) -> Iterator[list[Value]]:
    """A row for each relationship, best first."""
    image = graph["image"]
    for relationship in graph["relationships"]:
        subject, target = (graph["entities"][relationship[role]] for role in _ROLES)
        yield [
            *(image["file_name"], subject["class"], relationship["predicate"], target["class"]),
            *(relationship["score"], subject["score"]),
            *(relationship.get("predicate_score"), target["score"]),
            *(subject["id"], target["id"], *subject["box"], *target["box"]),
            *(image["width"], image["height"]),
        ]


def check_header(names: Iterable[str], source: str) -> None:
    """Checks the names of the columns of a table.

    Raises:
        ValueError: a column is missing or occurs twice. The message names all such, and similar names.
    """
    found = list(names)
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        others = [name for name in found if name not in COLUMNS]
        near = [
            f"{near[0]!r} is similar" for name in missing if (near := get_close_matches(name, others, n=1))
        ]
        raise ValueError(
            f"{source} has no column {', '.join(missing)}{f' ({near[0]})' if near else ''}: it needs the "
            f"columns {', '.join(COLUMNS)}, in any order"
        )
    twice = sorted({name for name in COLUMNS if found.count(name) > 1})
    if twice:
        raise ValueError(f"{source} has the column {', '.join(twice)} twice: remove one of them")


def checked_for_rows(graphs: Iterable[SceneGraph], path: Path) -> Iterator[SceneGraph]:
    """The graphs, which must be of different images, because rows tell images apart by their names alone.

    After the last one, a line in the log counts what has no row.

    Args:
        graphs: the graphs.
        path: file that is written, for messages.

    Raises:
        ValueError: two graphs have the same file name.
    """
    seen: set[str] = set()
    entities = images = 0
    for graph in graphs:
        name = graph["image"]["file_name"]
        if name in seen:
            raise ValueError(
                f"{path}: not written: two graphs are of the image {name!r}, and a table tells images apart "
                "by their names alone: use jsonl"
            )
        seen.add(name)
        related = {relationship[role] for relationship in graph["relationships"] for role in _ROLES}
        entities += len(graph["entities"]) - len(related)
        images += not related
        yield graph
    if entities or images:
        logger.warning(
            "%s: %d entities and %d images without a relationship are not in the table: use jsonl",
            *(path, entities, images),
        )


def graphs_of(rows: Iterable[tuple[str, Sequence[Any]]], source: str) -> Iterator[SceneGraph]:
    """The graphs of the rows of a table, in the order of their first rows.

    Entities are numbered anew, in the order of their ids; relationships have the order of the rows.

    Args:
        rows: what a row is called in messages, and its values in the order of `COLUMNS`.
        source: the file, for messages.

    Raises:
        ValueError: a value is missing or not of its column's type, a number is NaN or out of its range, or
            two rows of an image contradict each other. The message names the row.
    """
    images: dict[str, _Image] = {}
    for place, row in rows:
        values = dict(zip(COLUMNS, row, strict=True))
        for name, value in values.items():
            _check_value(name, value, f"{source}, {place}")
        image = images.setdefault(values["image"], _Image())
        image.add(values, source, place)
    for name, image in images.items():
        yield checked_graph(image.graph(name), f"{source}, image {name!r}")


@dataclass
class _Image:
    """The rows of an image so far.

    Attributes:
        sizes: (width, height) -> the first row that says it.
        entities: id -> class, score and box, and the first row that says them.
        triplets: subject id, object id, predicate, score and score of the predicate of each row.
    """

    sizes: dict[tuple[int, int], str] = field(default_factory=dict)
    entities: dict[int, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    triplets: list[tuple[int, int, str, float | None, float | None]] = field(default_factory=list)

    def add(self, values: dict[str, Any], source: str, place: str) -> None:
        """Adds a row.

        Raises:
            ValueError: it contradicts an earlier one.
        """
        self.sizes.setdefault((values["image_width"], values["image_height"]), place)
        if len(self.sizes) > 1:
            first, second = self.sizes
            raise ValueError(
                f"{source}, {place}: the image {values['image']!r} has {second[0]} x {second[1]} pixels, and "
                f"{first[0]} x {first[1]} in {self.sizes[first]}: correct one of them"
            )
        for role in _ROLES:
            identity = values[f"{role}_id"]
            box = [float(values[f"{role}_{corner}"]) for corner in CORNERS]
            given = values[role], values[f"{role}_score"], box
            known, where = self.entities.setdefault(identity, (given, place))
            if known != given:
                raise ValueError(
                    f"{source}, {place}: the {role} {identity} of the image {values['image']!r} is {given}, "
                    f"and {known} in {where}: an id is one entity, so give another id, or correct one of them"
                )
        scores = values["score"], values["predicate_score"]
        self.triplets.append((values["subject_id"], values["object_id"], values["predicate"], *scores))

    def graph(self, name: str) -> dict[str, Any]:
        """The graph of the rows."""
        number = {identity: i for i, identity in enumerate(sorted(self.entities))}
        ((width, height),) = self.sizes
        of_entities = [self.entities[identity][0] for identity in number]
        return {
            "version": FORMAT_VERSION,
            "image": {"file_name": name, "width": width, "height": height},
            "entities": [
                {"id": i, "class": class_name, "score": score, "box": box}
                for i, (class_name, score, box) in enumerate(of_entities)
            ],
            "relationships": [
                {
                    "subject": number[subject],
                    "object": number[target],
                    "predicate": predicate,
                    "score": score,
                    **({} if predicate_score is None else {"predicate_score": predicate_score}),
                }
                for subject, target, predicate, score, predicate_score in self.triplets
            ],
        }


def _check_value(name: str, value: Any, place: str) -> None:
    kind = COLUMNS[name]
    if value is None and name not in _SCORES:
        raise ValueError(f"{place}: {name} is missing: give {'a text' if kind is str else 'a number'}")
    if kind is str or value is None:
        return
    if kind is float and not math.isfinite(value):
        raise ValueError(
            f"{place}: {name} is {value}: give a number, or nothing for a score that is not known"
        )
    if name in _SCORES and not 0 <= value <= 1:
        raise ValueError(f"{place}: {name} is {value}: give a number from 0 to 1")
    if kind is int and value < (1 if name.startswith("image") else 0):
        raise ValueError(f"{place}: {name} is {value}: give the number of the entity, or pixels of the image")
