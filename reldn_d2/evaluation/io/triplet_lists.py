"""Reading lists of scored triplets, of any model: CSV files with a line for each triplet.

Every list has the columns `image_id`, `predicate` and `score`. Subject and object are given by

    sgdet     classes and boxes: subject, object, subject_x0, ..., object_y1 (XYXY in pixels of the image)
    sgcls     rows of the annotated entities and their predicted classes: subject_index, object_index,
              subject, object
    prdcls    rows of the annotated entities: subject_index, object_index; subject and object may be given

Columns may be in any order. Classes and predicates are names. Rows of entities count from 0, in annotation
order. Numbers are read to the last bit, so that scores are ranked as they are written. Names are taken as
they are, and as `to_csv` of `reldn_d2.utils.plain_text` writes them for spreadsheets.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Vocabulary
from reldn_d2.structures.vocabulary import nearest_names
from reldn_d2.utils.csv_files import check_end, codes_of, read_header, read_table, refuse_rows
from reldn_d2.utils.refusals import Refusal, refuse

from ..graphs import GroundTruthGraph, IntArray, PredictedGraph, Task, parse_task
from ..triplet_graphs import graph_from_entities, graph_from_triplets, repeats_note
from .submission import KAGGLE_COLUMNS, NAMES, OTHER_NAMES, label_index, with_written_names

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("subject", "object")
CORNERS = ("x0", "y0", "x1", "y1")
_BOX_COLUMNS = tuple(f"{role}_{corner}" for role in ROLES for corner in CORNERS)
_ROW_COLUMNS = tuple(f"{role}_index" for role in ROLES)
# Task -> columns of numbers that a list must have.
_NUMBERS: dict[Task, tuple[str, ...]] = {
    "sgdet": (*_BOX_COLUMNS, "score"),
    "sgcls": (*_ROW_COLUMNS, "score"),
    "prdcls": (*_ROW_COLUMNS, "score"),
}
_CORRECT = "Correct the line."
_ORDER = "Entities count from 0, in annotation order: the rows of the image's annotations in the data set."
_Columns = Mapping[str, npt.NDArray[Any]]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TripletList:
    """The contents of a list of triplets.

    Attributes:
        predictions: image id -> prediction, for every image of the data set. An image that is not in the list
            has no triplets.
        notes: sentences about the list that change what a number means: repeats, and unknown images.
    """

    predictions: dict[str, PredictedGraph]
    notes: list[str]


def is_triplet_list(path: str | os.PathLike[str]) -> bool:
    """Whether a CSV file is a list of triplets: it has no image ids or labels as submissions have them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not UTF-8.
    """
    header = read_header(path)
    return bool(header) and {*NAMES, *KAGGLE_COLUMNS, *OTHER_NAMES}.isdisjoint(header)


def read_triplet_list(
    path: str | os.PathLike[str],
    truths: Mapping[str, GroundTruthGraph],
    task: str,
    vocabulary: Vocabulary,
    *,
    merge_repeats: bool = False,
) -> TripletList:
    """Read a list of scored triplets, see the module.

    Triplets of images that the data set does not have are left out. Triplets that repeat another one of their
    image stay (`triplet_graphs` says how they count), or only the best of them does. Both are counted in a
    warning and a note. Scores are float64; equal scores keep the order of the file.

    Args:
        path: CSV file in UTF-8.
        truths: image id -> annotation, for every image of the data set.
        task: "sgdet", "sgcls" or "prdcls"; it says which columns are read. In sgcls an entity that no triplet
            names has its annotated class, which no triplet can use.
        vocabulary: the names of the data set.
        merge_repeats: whether only the best of equal triplets counts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing, no image is known, or a line has an unknown class or predicate, a
            number that is not finite, a box with swapped corners, a row that is no annotated entity, or a
            class that contradicts the annotation or an earlier line. The message names file and line, and
            counts further lines of the kind.
    """
    path, task, ids = Path(path), parse_task(task), sorted(truths)
    table, notes = _of_known_images(path, _read(path, task), ids)
    for column in ("predicate", *ROLES):
        if column in table:
            names = vocabulary.names("predicate_classes" if column == "predicate" else "thing_classes")
            table[f"{column}_code"] = _codes(path, table, column, names)
    if task == "sgdet":
        _check_boxes(path, table)
        entities = None
    else:
        entities = _GivenEntities(path, table, [truths[i] for i in ids], task)
    # lexsort is stable, so equal scores keep their order
    table = table.iloc[np.lexsort((-table["score"].to_numpy(), table["image"].to_numpy()))]
    table = _count_repeats(path, table, task, notes, merge=merge_repeats)
    ends = np.searchsorted(table["image"].to_numpy(), np.arange(len(ids) + 1))
    columns = {str(name): table[name].to_numpy() for name in table if str(name) != "image_id"}
    graphs = {}
    for i, image_id in enumerate(ids):
        lines = {name: column[ends[i] : ends[i + 1]] for name, column in columns.items()}
        graphs[image_id] = _graph_of_boxes(lines) if entities is None else entities.graph(i, lines)
    _logger.info("%s: %d triplets in %d of %d images", path, len(table), table["image"].nunique(), len(ids))
    return TripletList(graphs, notes)


def _read(path: Path, task: Task) -> "pd.DataFrame":
    """Read the columns of a list, and check that all numbers are finite."""
    check_end(path, "Write the list again")
    texts, numbers = _columns(path, task), _NUMBERS[task]
    table = read_table(path, texts, numbers, exact=True)
    for name in numbers:
        problem = f"image {{image_id}}: {name} is {{{name}}}, which is not finite"
        refuse_rows(
            path, table, ~np.isfinite(table[name].to_numpy()), f"{name} not finite", problem, _CORRECT
        )
    return table


def _columns(path: Path, task: Task) -> tuple[str, ...]:
    """The columns of text that are read.

    Raises:
        ValueError: a column is missing. The message names all such, and similar names.
    """
    header = read_header(path)
    roles = tuple(role for role in ROLES if task != "prdcls" or role in header)
    texts = ("image_id", "predicate", *roles)
    wanted = [*texts, *_NUMBERS[task]]
    missing = [name for name in wanted if name not in header]
    others = [name for name in header if name and name not in wanted]
    if missing:
        near = [f"{x[0]!r} is similar to {name}" for name in missing if (x := nearest_names(name, others))]
        other_task = ""
        if task == "sgdet" and any(name in header for name in _ROW_COLUMNS):
            other_task = ". A list with rows of annotated entities is for the tasks sgcls and prdcls"
        elif task != "sgdet" and any(name in header for name in _BOX_COLUMNS):
            other_task = ". A list with boxes is for the task sgdet"
        raise ValueError(
            f"{path}: line 1 has no column {', '.join(missing)}{f' ({near[0]})' if near else ''}: for {task} "
            f"a list of triplets needs the columns {', '.join(wanted)}, in any order{other_task}"
        )
    if others:
        _logger.warning("%s: not read in %s: the columns %s", path, task, ", ".join(others))
    return texts


def _of_known_images(
    path: Path, table: "pd.DataFrame", ids: Sequence[str]
) -> tuple["pd.DataFrame", list[str]]:
    """The lines of images of the data set, and notes about the others. A column "image" has their places.

    Raises:
        ValueError: the data set has none of the images.
    """
    image = codes_of(table["image_id"], with_written_names(label_index(ids)))
    unknown = image < 0
    names = table["image_id"][unknown].unique()
    if unknown.all():
        raise ValueError(
            f"{path}: the data set has none of its {len(names)} images ({names[0]}, ...); the image ids of "
            f"the data set are {', '.join(ids[:3])}, .... Give the data set that the list was made for"
        )
    notes = []
    if unknown.any():
        notes.append(
            f"{unknown.sum()} of {len(table)} triplets are of {len(names)} images that the data set does "
            "not have, and are left out."
        )
        first = table.index[int(unknown.argmax())]
        _logger.warning("%s: %s The first is in line %d, image %s", path, notes[0], first, names[0])
    return table[~unknown].assign(image=image[~unknown]), notes


def _codes(path: Path, table: "pd.DataFrame", column: str, names: Sequence[str]) -> IntArray:
    """The numbers of the names in a column.

    Raises:
        ValueError: a name is not known. The message has similar ones.
    """
    codes = codes_of(table[column], with_written_names(label_index(names)))
    rows = np.flatnonzero(codes < 0)
    what = "predicate" if column == "predicate" else "class"

    def record(k: int) -> Refusal:
        name, image = (table[key].iloc[rows[k]] for key in (column, "image_id"))
        near = ", ".join(map(repr, nearest_names(name, names)))
        return Refusal(
            f"line {table.index[rows[k]]}",
            f"image {image}: the {column} {name!r} is no {what} of the data set "
            f"({f'similar: {near}' if near else 'no similar name'})",
            "Write the names of the data set that the list is scored on.",
        )

    refuse(path, f"unknown {what}", len(rows), record)
    return codes


def _check_boxes(path: Path, table: "pd.DataFrame") -> None:
    for role in ROLES:
        x0, y0, x1, y1 = (table[f"{role}_{corner}"].to_numpy() for corner in CORNERS)
        problem = f"image {{image_id}}: the box of the {role} has swapped corners"
        remedy = "Write x0, y0, x1, y1 with x0 <= x1 and y0 <= y1; width and height are not corners."
        refuse_rows(path, table, (x1 < x0) | (y1 < y0), "swapped corners", problem, remedy)


def _count_repeats(
    path: Path, table: "pd.DataFrame", task: Task, notes: list[str], *, merge: bool
) -> "pd.DataFrame":
    """Count the triplets that repeat a better one, and add a note. Returns the lines that stay."""
    entities = [f"{role}_code" for role in ROLES] + [*_BOX_COLUMNS] if task == "sgdet" else [*_ROW_COLUMNS]
    repeated = table.duplicated(["image", "predicate_code", *entities]).to_numpy()
    if not repeated.any():
        return table
    notes.append(repeats_note(int(repeated.sum()), len(table), merged=merge))
    _logger.warning("%s: %s The first is in line %d", path, notes[-1], table.index[repeated].min())
    return table[~repeated] if merge else table


def _graph_of_boxes(lines: _Columns) -> PredictedGraph:
    """The graph of the lines of an image, best first."""
    classes = [lines[f"{role}_code"] for role in ROLES]
    boxes = [np.stack([lines[f"{role}_{corner}"] for corner in CORNERS], axis=1) for role in ROLES]
    return graph_from_triplets(
        classes[0], boxes[0], classes[1], boxes[1], lines["predicate_code"], lines["score"]
    )


class _GivenEntities:
    """The annotated entities of all images, in sgcls with the classes of a list."""

    def __init__(
        self, path: Path, table: "pd.DataFrame", truths: Sequence[GroundTruthGraph], task: Task
    ) -> None:
        """Check the rows and classes in all lines.

        Args:
            path: the list, for messages.
            table: its lines.
            truths: the annotation of each image.
            task: in prdcls, classes of entities are those of the annotation; in sgcls those of the list.

        Raises:
            ValueError: a row is no annotated entity, or a class is not that of the entity.
        """
        self._truths = truths
        # Row e of image i has the place start[i] + e in `_classes`.
        self._start = np.cumsum([0, *(len(truth.boxes) for truth in truths)])
        self._classes = np.concatenate([np.zeros(0, dtype=np.int64), *(truth.classes for truth in truths)])
        entities = {role: self._entities(path, table, f"{role}_index") for role in ROLES}
        classes = {role: table[f"{role}_code"].to_numpy() for role in ROLES if role in table}
        if task == "sgcls":
            named = np.concatenate([entities[role] for role in ROLES])
            of_named, first = np.unique(named, return_index=True)
            self._classes[of_named] = np.concatenate([classes[role] for role in ROLES])[first]
        source = "is annotated as another class" if task == "prdcls" else "has another class in another line"
        for role, code in classes.items():
            refuse_rows(
                path,
                table,
                code != self._classes[entities[role]],
                "another class of an entity",
                f"image {{image_id}}: entity {{{role}_index:g}} is {{{role}}} here, but it {source}",
                f"Give each entity one class. {_ORDER}",
            )

    def _entities(self, path: Path, table: "pd.DataFrame", column: str) -> IntArray:
        """(T,) places in `classes` of the entities that a column of rows names."""
        image, row = table["image"].to_numpy(), table[column].to_numpy()
        counts = np.diff(self._start)[image]
        bad = (row < 0) | (row >= counts) | (row != np.floor(row))
        problem = f"image {{image_id}} has no annotated entity {{{column}:g}} ({column})"
        refuse_rows(path, table, bad, f"{column} out of range", problem, _ORDER)
        entities: IntArray = self._start[image] + row.astype(np.int64)
        return entities

    def graph(self, image: int, lines: _Columns) -> PredictedGraph:
        """The graph of the lines of an image, best first."""
        return graph_from_entities(
            self._truths[image].boxes,
            self._classes[self._start[image] : self._start[image + 1]],
            lines["subject_index"].astype(np.int64),
            lines["object_index"].astype(np.int64),
            lines["predicate_code"],
            lines["score"],
        )
