"""Chooses the images of a checked data set that `dataset_page` draws."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.data.checking.problems import Problem, Record
from reldn_d2.evaluation.protocols.confusion import KINDS as CASES_OF

from .report import DatasetReport, ground_truth, record_text, triplet_text

# Largest number of drawn items: wrong triplets of a case; relationships of an image; entities of an image.
_WRONG, _RELATIONS, _ENTITIES = 3, 8, 12
# Kinds of problems that leave no image to draw on.
_WITHOUT_PICTURE = ("missing_image", "unreadable_image")

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to draw.

    Attributes:
        image: its position in the data set.
        caption: text that says why the image is shown.
        relations: rows (subject, object, predicate) to draw: annotated relationships or wrong triplets.
        correct: for each row of `relations`, whether it is annotated; None if all are.
        entities: positions of entities to draw even if they are in no drawn relationship.
    """

    image: int
    caption: str
    relations: Sequence[Numbers] = ()
    correct: Sequence[bool] | None = None
    entities: Sequence[int] = ()


def choose_samples(report: DatasetReport, number: int) -> list[Sample]:
    """Choose samples, always the same ones for the same report.

    Errors come first, one sample of each kind before a second sample of any kind. The other groups follow,
    each with about the same number of samples: notes, confusable cases, rare predicates, images spread over
    the data set. An image is drawn once, except that it is drawn for each kind of error that it has.

    Args:
        report: result of checking a data set.
        number: largest number of samples.
    """
    drawn = [problem for problem in report.problems if problem.kind not in _WITHOUT_PICTURE]
    errors, notes = ([p for p in drawn if p.is_error is is_error] for is_error in (True, False))
    chosen = _in_turn([_other_images(_problem_samples(report, problem), set()) for problem in errors], number)
    shown = {sample.image for sample in chosen}
    for problem in report.problems:
        if problem.kind in _WITHOUT_PICTURE:
            shown.update(problem.images.tolist())
    groups = [
        *(_problem_samples(report, problem) for problem in notes),
        *(_case_samples(report, kind, number) for kind in CASES_OF),
        _rare_samples(report),
        _spread_samples(report, number),
    ]
    return chosen + _in_turn([_other_images(group, shown) for group in groups], number - len(chosen))


def _in_turn(groups: Sequence[Iterator[Sample]], number: int) -> list[Sample]:
    """Up to `number` samples, one of each group before a second of any, in the order of the groups."""
    waiting = deque(enumerate(groups))
    chosen: list[tuple[int, Sample]] = []
    while waiting and len(chosen) < number:
        place, samples = waiting.popleft()
        sample = next(samples, None)
        if sample is not None:
            chosen.append((place, sample))
            waiting.append((place, samples))
    return [sample for _, sample in sorted(chosen, key=itemgetter(0))]


def _other_images(samples: Iterator[Sample], shown: set[int]) -> Iterator[Sample]:
    """The samples of images that are not in `shown`. The image of each taken sample is added to `shown`."""
    for sample in samples:
        if sample.image not in shown:
            shown.add(sample.image)
            yield sample


def _problem_samples(report: DatasetReport, problem: Problem) -> Iterator[Sample]:
    """The records of a problem that can be drawn."""
    samples = (
        _problem_sample(report, f"{problem.kind}: {record_text(report, record)}", record)
        for record in problem.records
    )
    return filter(None, samples)


def _problem_sample(report: DatasetReport, caption: str, record: Record) -> Sample | None:
    image = record.image
    if image is None:
        return None
    drawable = _drawable(report, image)
    if record.part == "annotation":
        return Sample(image, caption, entities=[record.row]) if record.row in drawable else None
    if record.part == "relation":
        triplet = _relations(report, image)[record.row]
        return Sample(image, caption, [triplet]) if drawable.issuperset(triplet[:2].tolist()) else None
    return (
        Sample(image, caption, _shown(report, image), entities=sorted(drawable)[:_ENTITIES])
        if drawable
        else None
    )


def _case_samples(report: DatasetReport, kind: str, number: int) -> Iterator[Sample]:
    """The first case of up to `number` images that have a case of this kind."""
    for row in _spread(np.flatnonzero(report.confusion.cases[kind]), number):
        image = report.usable[row]
        truth = ground_truth(report.check.arrays, image)
        cases = CASES_OF[kind](truth)
        right, wrong = cases.right[0], cases.wrong[cases.case == 0]
        of = f"{_WRONG} of {len(wrong):,} drawn" if len(wrong) > _WRONG else len(wrong)
        words = triplet_text(report, truth, right.tolist())
        caption = f"{kind} case, {_name(report, image)}: {words}; wrong triplets: {of}"
        triplets = [right, *wrong[:_WRONG]]
        yield Sample(image, caption, triplets, [True] + [False] * (len(triplets) - 1))


def _rare_samples(report: DatasetReport) -> Iterator[Sample]:
    """The first image of each predicate, the rarest predicate first."""
    arrays, counts = report.check.arrays, report.check.summary.predicate_counts
    usable = np.isin(arrays.relation_image, report.usable)
    for predicate in np.argsort(counts, kind="stable"):
        rows = np.flatnonzero(usable & (arrays.relations[:, 2] == predicate))
        if len(rows):
            image = int(arrays.relation_image[rows[0]])
            triplets = [row for row in _relations(report, image) if row[2] == predicate]
            often = f"{counts[predicate]:,} of {counts.sum():,}"
            caption = f"{report.predicate_classes[predicate]} ({often}), {_name(report, image)}"
            yield Sample(image, caption, triplets[:_RELATIONS])


def _spread_samples(report: DatasetReport, number: int) -> Iterator[Sample]:
    """Images without annotation errors: first `number` images at even distances, then all of them."""
    for image in chain(_spread(report.usable, number), report.usable):
        relations = _relations(report, image)
        caption = f"{_name(report, image)}: relationships: {len(relations)}"
        yield Sample(image, caption, [*relations[:_RELATIONS]])


def _spread(items: Sequence[Any] | Numbers, number: int) -> Sequence[Any] | Numbers:
    """Up to `number` items at even distances, including the first and the last."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).astype(int)
    return [items[place] for place in places]


def _relations(report: DatasetReport, image: int) -> Numbers:
    """(R, 3) relationships of an image."""
    arrays = report.check.arrays
    return arrays.relations[arrays.first_relation[image] : arrays.first_relation[image + 1]]


def _shown(report: DatasetReport, image: int) -> list[Numbers]:
    """The first relationships that can be drawn, of an image that may have errors."""
    drawable = _drawable(report, image)
    return [row for row in _relations(report, image) if drawable.issuperset(row[:2].tolist())][:_RELATIONS]


def _drawable(report: DatasetReport, image: int) -> set[int]:
    """Positions of the entities of an image whose boxes are finite."""
    return {*np.flatnonzero(np.isfinite(ground_truth(report.check.arrays, image).boxes).all(axis=1)).tolist()}


def _name(report: DatasetReport, image: int) -> str:
    return f"image {report.check.arrays.image_ids[image]!r}"
