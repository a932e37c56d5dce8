"""The result of checking a data set, as text and as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

import numpy as np
from tabulate import tabulate

from reldn_d2.data.checking.checks import DatasetCheck
from reldn_d2.data.checking.counts import Spread
from reldn_d2.data.checking.problems import KINDS, Problem, Record
from reldn_d2.data.checking.unchecked_arrays import IntArray, UncheckedArrays
from reldn_d2.evaluation.graphs import GroundTruthGraph
from reldn_d2.evaluation.protocols.confusion import ConfusionFrequency
from reldn_d2.utils.plain_text import short, visible

# Number of columns of a printed histogram.
_COLUMNS = 3


@dataclass(frozen=True)
class ZeroShot:
    """Counts of relationships whose three labels never occur together in the training split.

    Attributes:
        relationships: number of these relationships.
        triplets: number of distinct label triplets among them.
    """

    relationships: int
    triplets: int


@dataclass(frozen=True, eq=False)
class DatasetReport:
    """The result of checking one data set.

    Attributes:
        name: name of the data set.
        sources: metadata key -> value, for the keys that say where the data set comes from.
        thing_classes: names of the entity classes; the position is the class number.
        predicate_classes: names of the predicates; the position is the predicate number.
        check: result of checking the annotations.
        problems: problems of the annotations and of the image files.
        usable: (K,) positions of the images without annotation errors; their image files may have errors.
        confusion: confusable cases in these K images.
        zero_shot: the counts; or a text that says why nothing was counted; or None if the data set names no
            training split.
    """

    name: str
    sources: Mapping[str, str]
    thing_classes: Sequence[str]
    predicate_classes: Sequence[str]
    check: DatasetCheck
    problems: Sequence[Problem]
    usable: Sequence[int]
    confusion: ConfusionFrequency
    zero_shot: ZeroShot | str | None

    @property
    def has_errors(self) -> bool:
        """Whether a problem is an error, not a note."""
        return any(problem.is_error for problem in self.problems)

    def verdict(self) -> str:
        """One line with the kinds of problems."""
        errors = dict.fromkeys(problem.kind for problem in self.problems if problem.is_error)
        notes = dict.fromkeys(problem.kind for problem in self.problems if not problem.is_error)
        parts = [f"errors: {', '.join(errors)}" if errors else "no errors"]
        return "; ".join(parts + ([f"notes: {', '.join(notes)}"] if notes else []))

    def origin(self) -> list[str]:
        """Lines that say where the data set comes from, if that is known."""
        return [visible(f"{key}: {value}") for key, value in self.sources.items()]

    def not_counted(self) -> list[str]:
        """Lines that say why a number is missing."""
        if not isinstance(self.zero_shot, str):
            return []
        return [f"zero-shot relationships: not counted, because: {self.zero_shot}"]

    def numbers(self) -> list[tuple[str, int, str]]:
        """Rows (what was counted, number, remark)."""
        summary, confusion = self.check.summary, self.confusion
        images, relationships = summary.images, summary.relationships
        unused = (int((counts == 0).sum()) for counts in (summary.class_counts, summary.predicate_counts))
        rows = [
            ("images", images, ""),
            (
                "  without relationships",
                summary.images_without_relationships,
                _share(summary.images_without_relationships, images),
            ),
            (
                "  with fewer than two boxes",
                summary.images_with_fewer_than_two_boxes,
                _share(summary.images_with_fewer_than_two_boxes, images),
            ),
            ("entities", summary.entities, _spread(summary.entities_per_image)),
            ("relationships", relationships, _spread(summary.relationships_per_image)),
            (
                "  between boxes that share no area",
                summary.relationships_without_overlap,
                f"{_share(summary.relationships_without_overlap, relationships)}: lost by an overlap filter",
            ),
            ("entity pairs with several predicates", summary.pairs_with_several_predicates, "ordered pairs"),
            ("entity classes", len(self.thing_classes), f"{next(unused)} never occur"),
            ("predicates", len(self.predicate_classes), f"{next(unused)} never occur"),
        ]
        if len(self.usable) < images:
            rows.append(
                (
                    "images without annotation errors",
                    len(self.usable),
                    f"{_share(len(self.usable), images)}; the next rows count these images",
                )
            )
        for kind, counts in confusion.cases.items():
            share = _share(int(counts.sum()), int(confusion.relationships.sum()))
            of = f"{share} of distinct relationships, in {(counts > 0).sum():,} images"
            rows.append((f"confusable {kind} cases", int(counts.sum()), of))
        subset = confusion.confusable_images
        rows.append(("images with either case", subset, _share(subset, len(self.usable))))
        if isinstance(self.zero_shot, ZeroShot):
            found = self.zero_shot
            share = _share(found.relationships, relationships)
            remark = f"{share}; {found.triplets:,} label triplets that are not in the training split"
            rows.append(("zero-shot relationships", found.relationships, remark))
        return rows

    def histograms(self) -> dict[str, list[tuple[str, int]]]:
        """Title -> (name, count), the most frequent first."""
        summary = self.check.summary
        return {
            "entity classes": _ranked(self.thing_classes, summary.class_counts),
            "predicates": _ranked(self.predicate_classes, summary.predicate_counts),
        }


def ground_truth(arrays: UncheckedArrays, image: int) -> GroundTruthGraph:
    """The annotation of an image, unchanged.

    Args:
        arrays: annotations of all images.
        image: position of the image in the data set.
    """
    entities, relations = (
        slice(*first[image : image + 2]) for first in (arrays.first_entity, arrays.first_relation)
    )
    return GroundTruthGraph(arrays.boxes[entities], arrays.classes[entities], arrays.relations[relations])


def as_text(report: DatasetReport) -> str:
    """The report as text for the terminal."""
    rows = [(what, f"{number:,}", remark) for what, number, remark in report.numbers()]
    name = visible(report.name)
    lines = [name, "=" * len(name), *report.origin(), ""]
    lines += [_table(rows, ("left", "right", "left")), *report.not_counted()]
    for title, counts in report.histograms().items():
        lines += ["", f"{title} ({'entities' if title == 'entity classes' else 'relationships'})", ""]
        lines += _histogram(counts)
    for problem in report.problems:
        lines += ["", headline(problem), f"  {explanation(problem)}"]
        lines += [f"    {record_text(report, record)}" for record in problem.records]
        lines += ["    ..."] * (len(problem.records) < problem.count)
    return "\n".join([*lines, "", f"{name}: {report.verdict()}"])


def headline(problem: Problem) -> str:
    """One line with the kind of a problem and how often it occurs."""
    number = len(problem.images)
    images = f" in {number:,} image{'s' * (number != 1)}" if number else ""
    about = f" ({problem.about})" if problem.about else ""
    return f"{'error' if problem.is_error else 'note'} {problem.kind}{about}: {problem.count:,}{images}"


def explanation(problem: Problem) -> str:
    """The meaning of a problem and its remedy."""
    kind = KINDS[problem.kind]
    return f"{kind.meaning} {problem.remedy or kind.remedy}"


def record_text(report: DatasetReport, record: Record) -> str:
    """A record as one line of text. For a relationship, the names are added to the numbers."""
    if record.image is None or record.part != "relation":
        return visible(str(record))
    truth = ground_truth(report.check.arrays, record.image)
    return visible(f"{record} ({triplet_text(report, truth, truth.relations[record.row].tolist())})")


def triplet_text(report: DatasetReport, truth: GroundTruthGraph, triplet: Sequence[int]) -> str:
    """A relationship with names. Numbers without a name stay numbers; an entity that does not exist is "?".

    Args:
        report: report with the names.
        truth: annotation of the image.
        triplet: (subject, object, predicate).
    """
    classes = truth.classes.tolist()
    subject, object, predicate = triplet
    subject_class, object_class = (
        name_of(report.thing_classes, "class", classes[end]) if 0 <= end < len(classes) else "?"
        for end in (subject, object)
    )
    arrow = "\N{RIGHTWARDS ARROW}"
    predicate_name = name_of(report.predicate_classes, "predicate", predicate)
    return f"{subject_class} {arrow} {predicate_name} {arrow} {object_class}"


def name_of(names: Sequence[str], what: str, number: int) -> str:
    """The name of a class or predicate number, or text such as "class 7" if the number has no name."""
    return names[number] if 0 <= number < len(names) else f"{what} {number}"


def as_data(report: DatasetReport) -> dict[str, Any]:
    """The report as plain data, which --output writes as JSON."""
    summary = asdict(report.check.summary)
    del summary["class_counts"], summary["predicate_counts"]
    classes, predicates = (
        [{"name": name, "count": count} for name, count in counts] for counts in report.histograms().values()
    )
    confusion = {
        kind: {"cases": int(counts.sum()), "images": int((counts > 0).sum())}
        for kind, counts in report.confusion.cases.items()
    }
    return {
        "name": report.name,
        "has_errors": report.has_errors,
        "sources": dict(report.sources),
        "summary": summary,
        "entity_classes": classes,
        "predicates": predicates,
        "confusion": {
            "images_checked": len(report.usable),
            "relationships": int(report.confusion.relationships.sum()),
            "images_with_either": report.confusion.confusable_images,
            **confusion,
        },
        "zero_shot": asdict(report.zero_shot) if isinstance(report.zero_shot, ZeroShot) else None,
        "not_counted": report.not_counted(),
        "problems": [
            {
                "kind": problem.kind,
                "about": problem.about,
                "is_error": problem.is_error,
                "count": problem.count,
                "images": len(problem.images),
                "meaning": explanation(problem),
                "records": [_record(record) for record in problem.records],
            }
            for problem in report.problems
        ],
    }


def _record(record: Record) -> dict[str, Any]:
    part: dict[str, Any] = {} if record.part is None else {record.part: record.row}
    return {"image": record.image, "image_id": record.image_id, **part, "detail": record.detail}


def _ranked(names: Sequence[str], counts: IntArray) -> list[tuple[str, int]]:
    order = np.argsort(-counts, kind="stable")
    return [(names[i], int(counts[i])) for i in order]


def _histogram(counts: Sequence[tuple[str, int]]) -> list[str]:
    """Names, counts and shares in columns, read from top to bottom. Names that never occur follow."""
    total = sum(count for _, count in counts)
    cells = [("", short(name), f"{count:,}", _share(count, total)) for name, count in counts if count]
    height = -(-len(cells) // _COLUMNS)
    rows = [[text for cell in cells[row::height] for text in cell] for row in range(height)]
    lines = [_table(rows, ("left", "left", "right", "right") * _COLUMNS)] if rows else []
    never = [short(name) for name, count in counts if not count]
    if never:
        remark = f"never: {', '.join(never)}"
        lines += ["", fill(remark, 110, initial_indent="  ", subsequent_indent="  ")]
    return lines


def _table(rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    # Keep whitespace in names, and keep numbers as they are formatted.
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align, preserve_whitespace=True)


def _share(number: int, total: int) -> str:
    return f"{100 * number / total:.1f} %" if total else "-"


def _spread(spread: Spread) -> str:
    return f"{spread.minimum} to {spread.maximum} an image, median {spread.median:g}"
