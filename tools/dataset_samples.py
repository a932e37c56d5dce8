"""Which images of a checked data set are worth a look: what `dataset_page` draws."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from dataset_report import DatasetReport, ground_truth, record_text, triplet_text
from numpy.typing import NDArray

from reldn_d2.data.checking.problems import Problem, Record
from reldn_d2.evaluation.protocols.confusion import KINDS as CASES_OF

# How much of an image is drawn: wrong triplets of a case; relationships, entities of an image that is shown as a whole.
_WRONG, _RELATIONS, _ENTITIES = 3, 8, 12
# There is nothing to draw on.
_WITHOUT_PICTURE = ("missing_image", "unreadable_image")

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image to draw.

    Attributes:
        image: its position in the data set.
        caption: why it is shown.
        relations: rows (subject, object, predicate) to draw: its relationships, or triplets that are none.
        correct: for each of them, whether it is annotated; None where all are.
        entities: positions of entities to draw in any case.
    """

    image: int
    caption: str
    relations: Sequence[Numbers] = ()
    correct: Sequence[bool] | None = None
    entities: Sequence[int] = ()


def choose_samples(report: DatasetReport, number: int) -> list[Sample]:
    """Up to `number` samples, the same ones every time: those of errors, one of each kind before a second of any, then
    of all other sorts about as many.

    An image is drawn once, but for each kind of error that it has.
    """
    drawn = [problem for problem in report.problems if problem.kind not in _WITHOUT_PICTURE]
    errors, notes = ([p for p in drawn if p.is_error is is_error] for is_error in (True, False))
    chosen = _in_turn([_other_images(_problem_samples(report, problem), set()) for problem in errors], number)
    shown = {sample.image for sample in chosen}
    for problem in report.problems:
        if problem.kind in _WITHOUT_PICTURE:
            shown.update(problem.images.tolist())
    sorts = [
        *(_problem_samples(report, problem) for problem in notes),
        *(_case_samples(report, kind, number) for kind in CASES_OF),
        _rare_samples(report),
        _spread_samples(report, number),
    ]
    return chosen + _in_turn([_other_images(sort, shown) for sort in sorts], number - len(chosen))


def _in_turn(sorts: Sequence[Iterator[Sample]], number: int) -> list[Sample]:
    """Up to `number` samples, one of each sort before a second of any; those of a sort stand together."""
    waiting = deque(enumerate(sorts))
    chosen: list[tuple[int, Sample]] = []
    while waiting and len(chosen) < number:
        place, samples = waiting.popleft()
        sample = next(samples, None)
        if sample is not None:
            chosen.append((place, sample))
            waiting.append((place, samples))
    return [sample for _, sample in sorted(chosen, key=itemgetter(0))]


def _other_images(samples: Iterator[Sample], shown: set[int]) -> Iterator[Sample]:
    """The samples of images that are not among the `shown`, which grow by those that are taken."""
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
    """The first case of each of some images that have one."""
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
    """The first image of each predicate, the rarest first."""
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
    """Images with sound annotations, as far apart as the number allows; after them all others."""
    for image in chain(_spread(report.usable, number), report.usable):
        relations = _relations(report, image)
        caption = f"{_name(report, image)}: relationships: {len(relations)}"
        yield Sample(image, caption, [*relations[:_RELATIONS]])


def _spread(items: Sequence[Any] | Numbers, number: int) -> Sequence[Any] | Numbers:
    """Up to `number` items at even distances, among them the first and the last."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).astype(int)
    return [items[place] for place in places]


def _relations(report: DatasetReport, image: int) -> Numbers:
    """(R, 3) relationships of an image."""
    arrays = report.check.arrays
    return arrays.relations[arrays.first_relation[image] : arrays.first_relation[image + 1]]


def _shown(report: DatasetReport, image: int) -> list[Numbers]:
    """The first relationships of an image that may have errors, as far as they can be drawn."""
    drawable = _drawable(report, image)
    return [row for row in _relations(report, image) if drawable.issuperset(row[:2].tolist())][:_RELATIONS]


def _drawable(report: DatasetReport, image: int) -> set[int]:
    """Entities of an image whose boxes are numbers."""
    return {*np.flatnonzero(np.isfinite(ground_truth(report.check.arrays, image).boxes).all(axis=1)).tolist()}


def _name(report: DatasetReport, image: int) -> str:
    return f"image {report.check.arrays.image_ids[image]!r}"
