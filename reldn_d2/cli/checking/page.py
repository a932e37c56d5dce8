"""Writes the page of a checked data set: its numbers, its problems, and drawn samples."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from reldn_d2.data.images import read_image
from reldn_d2.visualization import Report, SceneGraph, bars_svg, build_scene_graph, draw_scene_graph

from .report import DatasetReport, explanation, ground_truth, headline, name_of, record_text
from .samples import Sample, choose_samples

# Pixels of the longer side of a picture.
_SIDE = 640


def add_to_page(page: Report, report: DatasetReport, num_samples: int) -> None:
    """Add a data set to the page, with up to `num_samples` pictures."""
    page.heading(report.name)
    if report.sources:
        page.code("\n".join(report.origin()))
    page.paragraph(f"{report.verdict().capitalize()}.")
    page.table([{"": what.strip(), "number": n, "remark": remark} for what, n, remark in report.numbers()])
    for line in report.not_counted():
        page.paragraph(line)
    if report.problems:
        page.heading(f"{report.name}: problems")
    for problem in report.problems:
        page.paragraph(f"{headline(problem).capitalize()}. {explanation(problem)}")
        page.code("\n".join(record_text(report, record) for record in problem.records))
    for title, counts in report.histograms().items():
        add_bars(page, f"{report.name}: {title}", counts)
    samples = choose_samples(report, num_samples)
    if samples:
        page.heading(f"{report.name}: samples").paragraph(
            "Images with errors, with remarks, with confusable cases (the annotated relationship is green; "
            "triplets that it could be confused with are red), with the rarest predicates, and others, "
            "spread evenly over the data set."
        )
        page.pictures([(draw(report, sample), sample.caption) for sample in samples], grid=True)


def add_bars(page: Report, title: str, counts: Sequence[tuple[str, int]]) -> None:
    """Add a histogram, and the names that never occur."""
    page.heading(title)
    present = [(name, count) for name, count in counts if count]
    if present:
        page.pictures([(bars_svg(present), "")])
    never = [name for name, count in counts if not count]
    if never:
        page.paragraph(f"Never: {', '.join(never)}.")


def draw(report: DatasetReport, sample: Sample) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB picture of a sample, on grey if the image can't be read."""
    picture = _picture(report, sample.image)
    return draw_scene_graph(
        picture,
        _graph(report, sample),
        top_n=len(sample.relations),
        correct=sample.correct,
        also=sample.entities,
        min_side=_SIDE,
        text_scale=1.8,
    )


def _picture(report: DatasetReport, image: int) -> NDArray[np.uint8]:
    arrays = report.check.arrays
    width, height = arrays.sizes[image].tolist()
    try:
        picture = read_image(arrays.file_names[image], "RGB")
    # A damaged file may make a decoder raise any exception. check_pictures has reported it.
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
    # The corners are sorted, so that boxes with swapped corners are drawn, too.
    boxes = np.concatenate(
        [
            np.minimum(truth.boxes[:, :2], truth.boxes[:, 2:]),
            np.maximum(truth.boxes[:, :2], truth.boxes[:, 2:]),
        ],
        axis=1,
    )
    width, height = arrays.sizes[sample.image].tolist()
    return build_scene_graph(
        {"file_name": arrays.file_names[sample.image], "width": width, "height": height},
        [name_of(report.thing_classes, "class", number) for number in truth.classes.tolist()],
        boxes.tolist(),
        [
            (int(subject), int(object), name_of(report.predicate_classes, "predicate", predicate))
            for subject, object, predicate in sample.relations
        ],
    )
