"""Writing and reading submissions to the OpenImages challenge.

A submission lists the predicted triplets of each image. A file has one of two forms. The official form has a
line for every triplet, with the columns `COLUMNS`; an image without triplets is not in the file. The Kaggle
form has a line for every image, with the columns `KAGGLE_COLUMNS`. PredictionString repeats, separated by
spaces,

    Confidence Label1 XMin1 YMin1 XMax1 YMax1 Label2 XMin2 YMin2 XMax2 YMax2 RelationLabel

In both forms x is divided by the width of the image and y by its height, so that boxes are in [0, 1]. Boxes
are float32 pixels here, and are written with nine digits, which is enough to read them back bit for bit.
Scores are float64 from the file to the ranking, so that scores that are equal as float32 only are no ties.
They are written with as many digits as their type needs.

A record is the texts of one triplet in the order of `FIELDS`, in either form.

Image ids and labels are written with `to_csv` of `reldn_d2.utils.plain_text`, so that no spreadsheet runs
them. The official tool compares them as they are. Ids and labels of OpenImages, such as "/m/04bcr3", have no
character that is changed, so the tool gets what it expects. `read_submission` takes both forms of a name.
"""

import codecs
import csv
import logging
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from detectron2.data import MetadataCatalog

from reldn_d2.utils.csv_files import check_end, csv_rows, read_header
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import to_csv

from ..graphs import BoolArray, FloatArray, IntArray, PredictedGraph, RankedTriplets
from ..protocols.protocol import LIST_LENGTH
from ..ranking import top_triplets
from ..rows import repeat_numbers

COLUMNS = (
    *("ImageID", "LabelName1", "LabelName2"),
    *("XMin1", "XMax1", "YMin1", "YMax1", "XMin2", "XMax2", "YMin2", "YMax2"),
    *("RelationshipLabel", "Score"),
)
KAGGLE_COLUMNS = ("ImageId", "PredictionString")
NAMES = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel")
NUMBERS = ("XMin1", "YMin1", "XMax1", "YMax1", "XMin2", "YMin2", "XMax2", "YMax2", "Score")
FIELDS = NAMES + NUMBERS

# Rounding may move a box out of the image by this part of the image's side.
_OUTSIDE = 1e-3
# Coordinates beyond this are damage. Those of boxes in pixels are smaller.
_LARGEST = 1e6
# Other name of a column that a file may use -> its name here.
OTHER_NAMES = {"ImageId": "ImageID", "RelationLabel": "RelationshipLabel"}
_KAGGLE_FIELDS = ("Score", "LabelName1", *NUMBERS[:4], "LabelName2", *NUMBERS[4:8], "RelationshipLabel")
# This relation gives an entity an attribute. Only data sets of the whole challenge have it as a predicate.
ATTRIBUTE = "is"

_WITHOUT_ATTRIBUTES = (
    f"%d rows of '{ATTRIBUTE}' were skipped: the data set has no such predicate. The official tool counts "
    "them: its numbers are those of a data set of the whole challenge (reldn_openimages_vrd_challenge_val, "
    "or register_openimages_vrd with challenge=True)"
)
_Pick = Callable[[Sequence[str]], tuple[str, ...]]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """What a submission says about the images of a data set.

    Attributes:
        predictions: image id -> prediction, for every image of the data set.
        notes: what a reader of its numbers needs to know: rows that were skipped, and rows that count
            although they look wrong.
    """

    predictions: dict[str, PredictedGraph]
    notes: list[str]


def submission_labels(dataset_name: str) -> tuple[list[str], list[str]]:
    """The labels that a submission uses for the C classes and P predicates of a data set.

    These are class_labels and predicate_labels of the metadata (for OpenImages the official names like
    "/m/04bcr3" and "inside_of"). If a data set has none, they are thing_classes and predicate_classes.

    Args:
        dataset_name: name of a data set in MetadataCatalog. It must have been loaded once, because a loader
            may read the names from its file.

    Returns:
        Labels of the classes, labels of the predicates.

    Raises:
        ValueError: if the names are missing, or if there is not one label for each name.
    """
    metadata = MetadataCatalog.get(dataset_name)
    found = []
    for key, names_key in (("class_labels", "thing_classes"), ("predicate_labels", "predicate_classes")):
        names = metadata.get(names_key)
        labels = metadata.get(key) or names
        if not labels:
            raise ValueError(
                f"metadata of data set '{dataset_name}' has no {key} and no {names_key}; register it with "
                "them"
            )
        if names and len(labels) != len(names):
            raise ValueError(
                f"metadata of data set '{dataset_name}' has {len(labels)} {key} for {len(names)} "
                f"{names_key}; register it with one for each"
            )
        found.append(list(labels))
    return found[0], found[1]


def image_sizes(dataset_dicts: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """The sizes of images: image id as text -> (height, width) in pixels.

    Raises:
        ValueError: if a dataset dict has no height or width, or one below 1. The message names the image.
    """
    sizes = {str(x["image_id"]): (x.get("height", 0), x.get("width", 0)) for x in dataset_dicts}
    check_sizes(sizes)
    return sizes


def check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Check that the sizes of all images are known.

    Args:
        sizes: image id -> (height, width) in pixels; 0 if it is not known.

    Raises:
        ValueError: a height or width is below 1. The message names the image.
    """
    for image_id, size in sizes.items():
        if min(size) < 1:
            raise ValueError(
                f"image {image_id}: height and width are {size}; register the data set with the size of "
                "every image in pixels, or give a table of sizes (--image-sizes FILE.csv)"
            )


def label_index(labels: Iterable[str]) -> dict[str, int]:
    """Map each label to its position.

    Raises:
        ValueError: if a label is repeated.
    """
    index: dict[str, int] = {}
    for i, label in enumerate(labels):
        if index.setdefault(label, i) != i:
            raise ValueError(f"the label '{label}' is repeated; give every class and predicate its own label")
    return index


def write_submission(
    path: str | os.PathLike[str],
    predictions: Mapping[str, PredictedGraph],
    image_sizes: Mapping[str, tuple[int, int]],
    *,
    class_labels: Sequence[str],
    predicate_labels: Sequence[str],
    predicates_per_pair: int = 2,
    list_length: int = LIST_LENGTH,
    kaggle: bool = False,
) -> None:
    """Write a submission in one step: a reader finds the old file or the complete new one.

    Images are sorted by id, and the triplets of an image are written best first.

    Args:
        path: file to write.
        predictions: image id -> prediction.
        image_sizes: image id -> (height, width) in pixels, for all images of the split. The Kaggle form lists
            all these images.
        class_labels, predicate_labels: C and P labels, all different; for the Kaggle form without spaces.
        predicates_per_pair, list_length: the file holds the best `list_length` triplets of an image among the
            best `predicates_per_pair` of each ordered pair.
        kaggle: whether to write the Kaggle form; else the official form.

    Raises:
        ValueError: if a label is repeated or can't be written. If the size of an image is not known, a class
            or predicate has no label, a score is not finite, or a box leaves the image; then the message
            names the image.
    """
    for labels in (class_labels, predicate_labels):
        label_index(labels)
        spaced = [label for label in labels if len(label.split()) != 1]
        if kaggle and spaced:
            raise ValueError(
                f"the Kaggle form separates by spaces, so it can't hold the label '{spaced[0]}'; write the "
                "official form"
            )
    unknown = sorted(predictions.keys() - image_sizes.keys())
    if unknown:
        raise ValueError(
            f"image {unknown[0]}: image_sizes lacks it; give the sizes of the split that was predicted"
        )
    with atomic_write(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), lineterminator="\n")
        writer.writerow(KAGGLE_COLUMNS if kaggle else COLUMNS)
        for image_id in sorted(image_sizes):
            graph = predictions.get(image_id, PredictedGraph.empty())
            listed = replace(graph, relations=top_triplets(graph.relations, predicates_per_pair, list_length))
            records = _records(image_id, listed, image_sizes[image_id], class_labels, predicate_labels)
            if kaggle:
                writer.writerow(
                    (to_csv(image_id), " ".join(chain.from_iterable(map(record_to_kaggle, records))))
                )
            else:
                writer.writerows(map(record_to_official, records))


def _records(
    image_id: str,
    graph: PredictedGraph,
    size: tuple[int, int],
    class_labels: Sequence[str],
    predicate_labels: Sequence[str],
) -> Iterator[tuple[str, ...]]:
    """The records of all triplets of an image."""
    triplets = graph.relations
    for what, values, labels in (
        ("class", graph.classes, class_labels),
        ("predicate", triplets.predicate, predicate_labels),
    ):
        if len(values) and not 0 <= values.min() <= values.max() < len(labels):
            raise ValueError(
                f"image {image_id}: {what} {values.min()} to {values.max()}, but there are {len(labels)} "
                "labels; give the labels of the data set that the model was trained for"
            )
    boxes = graph.boxes.astype(np.float32) / box_scale(np.array(size))
    leaves = "a box leaves the image or is not finite; give boxes inside the image (in the file: in [0, 1])"
    for bad, problem in [(~_inside(boxes), leaves), *problems(boxes, triplets.score)]:
        if bad.any():
            raise ValueError(f"image {image_id}: {problem}")
    corners = [[f"{number:.9g}" for number in box] for box in boxes.tolist()]
    image_id, predicate_names = to_csv(image_id), [to_csv(label) for label in predicate_labels]
    names = [to_csv(class_labels[i]) for i in graph.classes.tolist()]
    # repr has as few digits as a float64 needs to be read back
    text_of = repr if triplets.score.dtype == np.float64 else "{:.9g}".format
    columns = (triplets.subject, triplets.object, triplets.predicate, triplets.score)
    for s, o, p, score in zip(*(column.tolist() for column in columns), strict=True):
        yield image_id, names[s], names[o], predicate_names[p], *corners[s], *corners[o], text_of(score)


def read_submission(
    path: str | os.PathLike[str],
    image_sizes: Mapping[str, tuple[int, int]],
    *,
    class_labels: Sequence[str],
    predicate_labels: Sequence[str],
) -> dict[str, PredictedGraph]:
    """Read the predictions of a submission of either form; see `load_submission`."""
    submission = load_submission(
        path, image_sizes, class_labels=class_labels, predicate_labels=predicate_labels
    )
    return submission.predictions


def load_submission(
    path: str | os.PathLike[str],
    image_sizes: Mapping[str, tuple[int, int]],
    *,
    class_labels: Sequence[str],
    predicate_labels: Sequence[str],
) -> Submission:
    """Read a submission of either form, and judge its rows as the official tool does.

    A submission has no table of entities; `graph_of_triplets` finds them. The log says how many triplets and
    images the file has. Warnings, and the notes of the result, count

    * rows that are skipped: those of images that the data set does not have, and those with the predicate
      `ATTRIBUTE` if the data set has no such predicate;
    * rows that count as they are: repeated triplets, scores outside of [0, 1], boxes that leave the image.

    In the Kaggle form, a warning counts lines of an image that an earlier line has. They are joined.

    Args:
        path: the submission.
        image_sizes: image id -> (height, width) in pixels, for all images of the split.
        class_labels, predicate_labels: C and P labels, all different.

    Returns:
        The prediction for every image of `image_sizes`, and the notes. An image that is not in the file has
        no triplets. Boxes are float32 pixels, scores float64. Triplets are best first; equal scores are in
        the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty or its last line has no line break, so that it may be cut off; if a
            column or field is missing, if a label is not known, if a value is not a finite number, or if a
            box has swapped corners or a coordinate beyond a million sides of the image; the message names
            file, line and image. Also if no image of the file is known, if no box can be right, as it is with
            boxes in pixels, or if a label is repeated.
    """
    check_end(Path(path), "Write the submission again")
    ids = sorted(image_sizes)
    classes, predicates = label_index(class_labels), label_index(predicate_labels)
    known = [with_written_names(index) for index in (label_index(ids), classes, predicates)]
    rows = _parse(path, (known[0], known[1], known[1], known[2]))
    _check_numbers(path, rows, ids)
    notes = [*rows.notes, *_suspicious(path, rows)]
    for note in notes:
        _logger.warning("%s: %s", path, note)
    if not len(rows.codes):
        _logger.warning("%s holds no triplet, so nothing was found in any image", path)
    image, scores = rows.codes[:, 0], rows.numbers[:, -1]
    _logger.info("%s: %d triplets in %d of %d images", path, len(image), len(np.unique(image)), len(ids))
    scale = box_scale(np.array([image_sizes[image_id] for image_id in ids]).reshape(-1, 2))
    boxes = rows.boxes * scale[image, None]
    order = np.lexsort((-scores, image))
    rows_of_images = np.split(order, np.searchsorted(image[order], np.arange(len(ids) + 1)))[1:-1]
    predictions = {
        image_id: graph_of_triplets(
            classes=rows.codes[chosen, 1:3],
            boxes=boxes[chosen].astype(np.float32),
            predicate=rows.codes[chosen, 3],
            score=scores[chosen],
        )
        for image_id, chosen in zip(ids, rows_of_images, strict=True)
    }
    return Submission(predictions, notes)


def with_written_names(index: Mapping[str, int]) -> dict[str, int]:
    """Name -> code, for names as they are and as `write_submission` writes them; other tools change none."""
    return {**index, **{to_csv(name): code for name, code in index.items()}}


@dataclass(frozen=True)
class _Rows:
    """The records of a file that count, in its order.

    Attributes:
        lines: (T,) their lines.
        codes: (T, 4) codes of `NAMES`.
        numbers: (T, 9) `NUMBERS`.
        notes: which rows were skipped, see `Submission`.
    """

    lines: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    notes: list[str]

    @property
    def boxes(self) -> npt.NDArray[np.float64]:
        """(T, 2, 4) boxes of subject and object: XYXY, relative to the size of the image."""
        return self.numbers[:, :8].reshape(-1, 2, 4)


def _parse(path: str | os.PathLike[str], known: Sequence[Mapping[str, int]]) -> _Rows:
    """Read the records of a file, without those of other images and of unknown attributes.

    Args:
        path: the submission.
        known: for each of `NAMES`, name -> code.
    """
    lines, codes, numbers = array("q"), array("q"), array("d")
    num_attributes, elsewhere, first = 0, Counter[str](), (0, "")
    has_known_image = False
    for line, record in read_records(path):
        names, values = record[: len(NAMES)], record[len(NAMES) :]
        has_known_image = has_known_image or names[0] in known[0]
        if names[-1] == ATTRIBUTE and ATTRIBUTE not in known[-1]:
            num_attributes += 1
            continue
        try:
            labels = [code[name] for code, name in zip(known[1:], names[1:], strict=True)]
            of_row = [*map(float, values)]
        except (KeyError, ValueError) as error:
            problem = _unreadable(names, values, known)
            raise ValueError(f"{path}: line {line}, image {names[0]}: {problem}") from error
        if names[0] not in known[0]:
            first = first if elsewhere else (line, names[0])
            elsewhere[names[0]] += 1
            continue
        codes.extend([known[0][names[0]], *labels])
        numbers.extend(of_row)
        lines.append(line)
    notes = [_WITHOUT_ATTRIBUTES % num_attributes] if num_attributes else []
    if elsewhere:
        if not has_known_image:
            raise ValueError(
                f"{path}: line {first[0]}, image {first[1]}: the data set has no such image, and none of the "
                f"{len(elsewhere)} in the file; evaluate the split that the submission was made for"
            )
        notes.append(
            f"{elsewhere.total()} rows of {len(elsewhere)} images that the data set does not have were "
            f"skipped, as the official tool does. The first is line {first[0]}"
        )
    return _Rows(
        np.array(lines, dtype=np.int64),
        np.array(codes, dtype=np.int64).reshape(-1, len(NAMES)),
        np.array(numbers, dtype=np.float64).reshape(-1, len(NUMBERS)),
        notes,
    )


def _check_numbers(path: str | os.PathLike[str], rows: _Rows, ids: Sequence[str]) -> None:
    for bad, problem in problems(rows.boxes, rows.numbers[:, -1]):
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            image_id = ids[rows.codes[row, 0]]
            raise ValueError(f"{path}: line {rows.lines[row]}, image {image_id}: {problem}")


def _suspicious(path: str | os.PathLike[str], rows: _Rows) -> Iterator[str]:
    """Notes on rows that look wrong, but count as they are.

    Raises:
        ValueError: if no box can be right.
    """
    scores = rows.numbers[:, -1]
    outside = ~_inside(rows.boxes)
    impossible = _mostly_outside(rows.boxes)
    if outside.size and impossible.all():
        raise ValueError(
            f"{path}: no box can be right, since less than half of each is in its image; the largest "
            f"coordinate is {rows.boxes.max():g}. Give boxes in [0, 1]: x divided by the width of the image, "
            "and y by its height, not pixels or percent"
        )
    leaving = "have a box that leaves the image; they count as they are"
    if impossible.any():
        leaving += (
            f". In {impossible.any(axis=1).sum()} rows more than half of a box is outside: it can't be right"
        )
    if 2 * impossible.sum() > impossible.size:
        leaving += ". These are most boxes: they have to be in [0, 1], and may be pixels or percent"
    for counted, what in (
        (_repeats(rows.codes, rows.numbers), "repeat the triplet of an earlier row; each of them counts"),
        ((scores < 0) | (scores > 1), "have a score that is not in [0, 1]; they are ranked as they are"),
        (outside.any(axis=1), leaving),
    ):
        if counted.any():
            yield f"{counted.sum()} rows {what}. The first is line {rows.lines[counted.argmax()]}"


def _repeats(codes: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64]) -> BoolArray:
    """(T,) whether a row has image, labels and boxes of an earlier row. Its score may be another one."""
    import pandas as pd  # takes long to import

    rows = np.concatenate([codes, numbers[:, :-1]], axis=1)
    repeated: BoolArray = pd.DataFrame(rows).duplicated().to_numpy()
    return repeated


def _unreadable(names: Sequence[str], values: Sequence[str], known: Sequence[Mapping[str, int]]) -> str:
    """Describe the error in a record: an unknown label, or else a value that is not a number."""
    for field, name, code in zip(NAMES[1:], names[1:], known[1:], strict=True):
        if name not in code:
            return (
                f"{field} '{name}' is not known; use the labels of the official class files, and the data "
                "set that has these labels"
            )
    given = ", ".join(f"{field} {value}" for field, value in zip(NUMBERS, values, strict=True))
    return f"a value is not a number ({given}); correct it"


def graph_of_triplets(
    classes: IntArray, boxes: FloatArray, predicate: IntArray, score: FloatArray
) -> PredictedGraph:
    """Make the graph of an image from its T triplets.

    Subjects and objects with the same class and box are one entity. There are two exceptions, because a
    graph can't have a triplet twice or relate an entity to itself: a repeated triplet gets its own copy of
    the subject, and so does a triplet whose subject and object are the same.

    Args:
        classes: (T, 2) int, the classes of subject and object.
        boxes: (T, 2, 4) float32, the boxes of subject and object.
        predicate: (T,) int.
        score: (T,) float, in descending order.

    Returns:
        The triplets in the given order; rank_in_pair numbers the triplets of an ordered pair in this order.
        Entity scores are not known; they are 1.
    """
    if not len(score):
        return PredictedGraph.empty()
    named = np.concatenate([classes[..., None], boxes], axis=2).reshape(-1, 5)
    distinct, row = np.unique(named, axis=0, return_inverse=True)
    subject, object = row.reshape(-1, 2).T
    pair = subject * len(distinct) + object
    copy = repeat_numbers(pair * (int(predicate.max()) + 1) + predicate) + (subject == object)
    num_copies = int(copy.max()) + 1
    rows_and_copies = np.concatenate([subject * num_copies + copy, object * num_copies])
    instances, instance = np.unique(rows_and_copies, return_inverse=True)
    subject, object = np.split(instance, 2)
    rank = 1 + repeat_numbers(subject * len(instances) + object)
    entities = distinct[instances // num_copies]
    return PredictedGraph(
        boxes=entities[:, 1:].astype(np.float32),
        classes=entities[:, 0].astype(np.int32),
        scores=np.ones(len(entities), dtype=np.float32),
        relations=RankedTriplets(
            subject=subject.astype(np.int32),
            object=object.astype(np.int32),
            predicate=predicate.astype(np.int32),
            score=score,
            rank_in_pair=rank.astype(np.int32),
        ),
    )


def read_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read the triplets of a submission, as line number and record.

    The header tells the form of the file. Columns may be in any order. ImageID may be called ImageId, and
    RelationshipLabel may be called RelationLabel.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column or a field is missing. The message names the file and the line.
    """
    if KAGGLE_COLUMNS[1] not in read_header(path):
        yield from csv_rows(path, FIELDS, OTHER_NAMES)
        return
    length = len(_KAGGLE_FIELDS)
    seen: set[str] = set()
    again: list[int] = []
    for line, (image_id, text) in csv_rows(path, ("ImageID", KAGGLE_COLUMNS[1]), OTHER_NAMES):
        words = text.split()
        if len(words) % length:
            raise ValueError(
                f"{path}: line {line}, image {image_id}: {len(words)} words in {KAGGLE_COLUMNS[1]}, not a "
                f"multiple of {length}; every triplet has the {length} words {' '.join(_KAGGLE_FIELDS)}"
            )
        if image_id in seen:
            again.append(line)
        seen.add(image_id)
        for start in range(0, len(words), length):
            yield line, _kaggle_to_record((image_id, *words[start : start + length]))
    if again:
        _logger.warning(
            "%s: %d lines are of an image that an earlier line has; their triplets are joined. The first is "
            "line %d",
            path, len(again), again[0],
        )  # fmt: skip


def _pick(fields: Sequence[str], wanted: Sequence[str]) -> _Pick:
    """Make a function that takes a sequence of all `fields` and returns those in `wanted`, in its order."""
    return itemgetter(*map(fields.index, wanted))


record_to_official: _Pick = _pick(FIELDS, COLUMNS)
record_to_kaggle: _Pick = _pick(FIELDS, _KAGGLE_FIELDS)
_kaggle_to_record = _pick(("ImageID", *_KAGGLE_FIELDS), FIELDS)


def box_scale(sizes: IntArray) -> FloatArray:
    """Factors from relative boxes to pixels.

    Args:
        sizes: (..., 2) heights and widths in pixels.

    Returns:
        (..., 4) width, height, width, height.
    """
    return np.tile(sizes[..., ::-1].astype(np.float64), 2)


def _inside(boxes: FloatArray) -> BoolArray:
    """(...) whether (..., 4) relative boxes are in their images, but for rounding. NaN is not."""
    inside: BoolArray = np.all((boxes >= -_OUTSIDE) & (boxes <= 1 + _OUTSIDE), axis=-1)
    return inside


def _mostly_outside(boxes: FloatArray) -> BoolArray:
    """(...) whether more than half of the area of (..., 4) relative boxes is out of their images.

    Such a box overlaps no box of the image by 0.5.
    """
    inside = boxes.clip(0, 1)
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (inside, boxes)]
    mostly: BoolArray = np.less(areas[0], 0.5 * areas[1])
    return mostly


def problems(boxes: FloatArray, scores: FloatArray) -> list[tuple[BoolArray, str]]:
    """Find boxes and scores that a submission must not have.

    Args:
        boxes: (..., 4) XYXY, relative to the size of the image.
        scores: (T,) scores.

    Returns:
        A pair for each possible problem: whether each box or score has it (bool), and the message.
    """
    swapped = boxes[..., 2:] < boxes[..., :2]
    return [
        (
            ~(np.abs(boxes) <= _LARGEST).all(axis=-1),
            f"a box is not finite or beyond {_LARGEST:.0e} sides of the image; correct it",
        ),
        (
            np.any(swapped, axis=-1),
            "a box has swapped corners; give XMin <= XMax and YMin <= YMax, and check the order of the "
            "columns",
        ),
        (~np.isfinite(scores), "a score is not a finite number; correct it"),
    ]
