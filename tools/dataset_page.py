"""The page of a checked data set: its numbers, its problems, and drawn samples."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import cv2
import numpy as np
from dataset_report import DatasetReport, explanation, ground_truth, headline
from numpy.typing import NDArray

from reldn_d2.data.checking.problems import Record
from reldn_d2.data.images import read_image
from reldn_d2.evaluation.protocols.confusion import KINDS as CASES_OF
from reldn_d2.visualization import Report, SceneGraph, draw_scene_graph
from reldn_d2.visualization.bars import bars_svg

# Pixels of the longer side of a picture.
_SIDE = 900
# How much of an image is drawn: wrong triplets of a case; relationships, entities of an image that is shown as a whole.
_WRONG, _RELATIONS, _ENTITIES = 3, 8, 12

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


def add_to_page(page: Report, report: DatasetReport, num_samples: int) -> None:
    """Add a data set to the page, with up to `num_samples` pictures."""
    page.heading(report.name).paragraph(f"{report.verdict().capitalize()}.")
    page.table([{"": what.strip(), "number": n, "remark": remark} for what, n, remark in report.numbers()])
    if report.problems:
        page.heading(f"{report.name}: problems")
    for problem in report.problems:
        page.paragraph(f"{headline(problem).capitalize()}. {explanation(problem)}")
        page.code("\n".join(map(str, problem.records)))
    for title, counts in report.histograms().items():
        add_bars(page, f"{report.name}: {title}", counts)
    samples = choose_samples(report, num_samples)
    if samples:
        page.heading(f"{report.name}: samples").paragraph(
            "Images with problems, with confusable cases (the annotated relationship green, triplets that it could be "
            "confused with red), with the rarest predicates, and any others, spread evenly over the data set."
        )
        page.pictures([(draw(report, sample), sample.caption) for sample in samples], grid=True)


def add_bars(page: Report, title: str, counts: Sequence[tuple[str, int]]) -> None:
    """A histogram, and the names that never occur."""
    page.heading(title)
    present = [(name, count) for name, count in counts if count]
    if present:
        page.pictures([(bars_svg(present), "")])
    never = [name for name, count in counts if not count]
    if never:
        page.paragraph(f"Never: {', '.join(never)}.")


def choose_samples(report: DatasetReport, number: int) -> list[Sample]:
    """Up to `number` images, of each sort about as many, no image twice; the same ones every time."""
    sorts: deque[tuple[int, Iterator[Sample]]] = deque(
        enumerate(
            [
                _problem_samples(report),
                *(_case_samples(report, kind, number) for kind in CASES_OF),
                _rare_samples(report),
                _other_samples(report, number),
            ]
        )
    )
    chosen: dict[int, tuple[int, Sample]] = {}
    while sorts and len(chosen) < number:
        place, samples = sorts.popleft()
        sample = next((sample for sample in samples if sample.image not in chosen), None)
        if sample is not None:
            chosen[sample.image] = place, sample
            sorts.append((place, samples))
    return [sample for _, sample in sorted(chosen.values(), key=itemgetter(0))]


def _problem_samples(report: DatasetReport) -> Iterator[Sample]:
    """The first record of each problem that can be drawn."""
    for problem in report.problems:
        samples = (_problem_sample(report, f"{problem.kind}: {record}", record) for record in problem.records)
        if problem.kind not in ("missing_image", "unreadable_image"):
            yield from islice(filter(None, samples), 1)


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
        cases = CASES_OF[kind](ground_truth(report.check.arrays, image))
        right, wrong = cases.right[0], cases.wrong[cases.case == 0]
        caption = f"{kind} case, {_name(report, image)}: {_words(report, image, right)}; wrong triplets: {len(wrong)}"
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


def _other_samples(report: DatasetReport, number: int) -> Iterator[Sample]:
    """Images without errors, as far apart as the number allows; after them all others."""
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


def _words(report: DatasetReport, image: int, triplet: Numbers) -> str:
    """A relationship by the names of its classes."""
    subject, object, predicate = triplet.tolist()
    classes = ground_truth(report.check.arrays, image).classes
    subject_class, object_class = (report.thing_classes[classes[end]] for end in (subject, object))
    return f"{subject_class} \N{RIGHTWARDS ARROW} {report.predicate_classes[predicate]} \N{RIGHTWARDS ARROW} {object_class}"


def draw(report: DatasetReport, sample: Sample) -> NDArray[np.uint8]:
    """(H, W, 3) RGB picture of a sample, on grey where the image can't be read."""
    picture = _picture(report, sample.image)
    return draw_scene_graph(
        picture,
        _graph(report, sample),
        top_n=len(sample.relations),
        correct=sample.correct,
        also=sample.entities,
        text_scale=1.8,
    )


def _picture(report: DatasetReport, image: int) -> NDArray[np.uint8]:
    arrays = report.check.arrays
    width, height = arrays.sizes[image].tolist()
    try:
        picture = read_image(arrays.file_names[image], "RGB")
    # as in check_pictures, which has reported it
    except Exception:
        picture = np.full((1, 1, 3), 128, dtype=np.uint8)
    else:
        height, width = picture.shape[:2]
    scale = min(_SIDE / max(width, height), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _graph(report: DatasetReport, sample: Sample) -> SceneGraph:
    arrays = report.check.arrays
    truth = ground_truth(arrays, sample.image)
    # in the right order, so that boxes with that fault are seen
    boxes = np.concatenate(
        [
            np.minimum(truth.boxes[:, :2], truth.boxes[:, 2:]),
            np.maximum(truth.boxes[:, :2], truth.boxes[:, 2:]),
        ],
        axis=1,
    )
    width, height = arrays.sizes[sample.image].tolist()
    return {
        "version": 1,
        "image": {"file_name": arrays.file_names[sample.image], "width": width, "height": height},
        "entities": [
            {
                "id": row,
                "class": _class_name(report.thing_classes, "class", number),
                "score": None,
                "box": box,
            }
            for row, (number, box) in enumerate(zip(truth.classes.tolist(), boxes.tolist(), strict=True))
        ],
        "relationships": [
            {
                "subject": int(subject),
                "object": int(object),
                "predicate": _class_name(report.predicate_classes, "predicate", predicate),
                "score": None,
            }
            for subject, object, predicate in sample.relations
        ],
    }


def _class_name(names: Sequence[str], kind: str, number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"{kind} {number}"
