"""`reldn compare`: runs beside a base run, with intervals over the test images and over seeds."""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from reldn_d2.evaluation import (
    compare_seeds,
    image_bootstrap,
    load_per_image,
    paired_bootstrap,
    seed_interval,
)
from reldn_d2.evaluation.bootstrap import FEWEST_INFORMATIVE_IMAGES, Difference, Estimate
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, evaluation_of
from reldn_d2.evaluation.metrics import PerImageRecall, macro_recall, micro_recall
from reldn_d2.evaluation.seeds import FEW_SEEDS
from reldn_d2.renamed import present_dataset_name
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import markdown_table, say, to_markdown

from .common import FINISHED, near_misses

REPORT_FILE = "compare.md"
DRAWING_FILE = "differences.svg"
_CONFIDENCE = 0.95
_AVERAGES = {"macro": macro_recall, "micro": micro_recall}
_DASH = "-"


@dataclass(frozen=True)
class _Model:
    """A model of the comparison: one run, or several trainings with different seeds.

    Attributes:
        name: for the tables.
        runs: counts of each run.
    """

    name: str
    runs: list[PerImageRecall]

    def recall(self, metric: str, average: str) -> float:
        """Recall in percent, the mean of the seeds."""
        return fmean(_AVERAGES[average](x.hits[metric], x.ground_truths) for x in self.runs)

    def interval(self, metric: str) -> dict[str, Estimate]:
        """Average -> recall with its interval."""
        if len(self.runs) > 1:
            return seed_interval(self.runs, metric, confidence=_CONFIDENCE)
        return image_bootstrap(self.runs[0], metric, confidence=_CONFIDENCE)

    def minus(self, base: "_Model", metric: str) -> dict[str, Difference]:
        """Average -> difference from another model with its interval."""
        if len(self.runs) > 1:
            return compare_seeds(self.runs, base.runs, metric, confidence=_CONFIDENCE)
        return paired_bootstrap(self.runs[0], base.runs[0], metric, confidence=_CONFIDENCE)

    @property
    def few_seeds(self) -> bool:
        """Whether it has several seeds, but few."""
        return 1 < len(self.runs) < FEW_SEEDS


@dataclass(frozen=True)
class _Row:
    """One difference.

    Attributes:
        name, metric, average: the model, and what is compared.
        recall, base: recalls of both, in percent.
        difference: the first minus the second.
        verdict: what the interval shows, in words.
    """

    name: str
    metric: str
    average: str
    recall: float
    base: float
    difference: Difference
    verdict: str


def run(args: Namespace) -> int:
    """Prints a Markdown table. Returns the exit status."""
    groups = [
        [results_of(folder, args.dataset, args.task) for folder in folders]
        for folders in (args.base, *([folder] for folder in args.input), *args.models)
    ]
    evaluation = _check_folders(groups)
    names = _names(groups)
    base, *models = (
        _Model(name, [counts_of(folder, args.protocol, args.metrics) for folder in folders])
        for name, folders in zip(names, groups, strict=True)
    )
    rows = [row for model in models for row in _rows(model, base, args.metrics, args.averages)]
    title = f"{args.protocol}, percent; {' '.join(evaluation)}; base: {base.name}"
    say(f"{title}\n", _difference_table(rows), "", *_notes(rows, [base, *models]))
    if args.output is not None:
        recalls = _recall_table([base, *models], args.metrics, args.averages)
        _write_report(args.output, title, rows, [base, *models], recalls)
        say(f"\nreport: {args.output / REPORT_FILE}")
    return FINISHED


def results_of(folder: Path, dataset: str | None, task: str | None) -> Path:
    """The folder with the results of one evaluation.

    Args:
        folder: this folder itself, or the folder of a run (OUTPUT_DIR), which has it as
            inference/DATASET/TASK.
        dataset, task: those of the evaluation, if the run has several.

    Raises:
        ValueError: the folder has no such results, or results of several evaluations.
    """
    folder = folder.resolve()
    if (folder / PER_IMAGE_FILE).is_file():
        return folder
    found = sorted(
        path.parent for path in folder.glob(f"inference/{dataset or '*'}/{task or '*'}/{PER_IMAGE_FILE}")
    )
    if not found:
        raise ValueError(
            f"{folder} has no results ({PER_IMAGE_FILE}): give the folder of a run, or "
            "OUTPUT_DIR/inference/DATASET/TASK"
        )
    if len(found) > 1:
        names = ", ".join("/".join(path.parts[-2:]) for path in found)
        raise ValueError(f"{folder} has results of {names}: choose --dataset or --task")
    return found[0]


def counts_of(folder: Path, protocol: str, metrics: list[str]) -> PerImageRecall:
    """The counts of an evaluation's protocol.

    Raises:
        ValueError: there is no such protocol or metric.
    """
    protocols = load_per_image(folder / PER_IMAGE_FILE)
    if protocol not in protocols:
        raise ValueError(
            f"{folder} has no protocol {protocol}, but "
            f"{', '.join(sorted(protocols))}{near_misses(protocol, protocols)}"
        )
    counts = protocols[protocol]
    unknown = [metric for metric in metrics if metric not in counts.hits]
    if unknown:
        raise ValueError(
            f"{folder} has no counts of {unknown[0]} of protocol {protocol} in each image, which an interval "
            f"needs, but those of {', '.join(counts.hits)}. Mean recall, F@K, P@K, AP and scores have no "
            "interval; --averages chooses macro or micro"
        )
    return counts


def _check_folders(groups: Sequence[Sequence[Path]]) -> tuple[str, str]:
    """Refuses runs that can't be compared, and a run that stands for two seeds of a model.

    Returns:
        Data set and task of all runs.
    """
    first = groups[0][0]
    of_first = _evaluation(first)
    for folders in groups:
        for number, folder in enumerate(folders):
            if folder in folders[:number]:
                raise ValueError(f"{folder} is given twice for one model: give runs of different seeds")
            of_folder = _evaluation(folder)
            if of_folder != of_first:
                raise ValueError(
                    f"{first} is of {' '.join(of_first)}, and {folder} of {' '.join(of_folder)}: they "
                    "can't be compared, choose --dataset or --task"
                )
    return of_first


def _rows(model: _Model, base: _Model, metrics: Sequence[str], averages: Sequence[str]) -> Iterator[_Row]:
    words = ", few seeds" if model.few_seeds or base.few_seeds else ""
    for metric in metrics:
        differences = model.minus(base, metric)
        for average in averages:
            found = differences[average]
            recall, of_base = (x.recall(metric, average) for x in (model, base))
            yield _Row(model.name, metric, average, recall, of_base, found, found.verdict + words)


def _difference_table(rows: Sequence[_Row]) -> str:
    header = ("run", "metric", "average", "run", "base", "difference", "95 % from", "to", "verdict")
    cells = [
        (
            *(row.name, row.metric, row.average),
            *map(_number, (row.recall, row.base, row.difference.mean)),
            *_bounds(row.difference),
            row.verdict,
        )
        for row in rows
    ]
    return markdown_table(header, cells, ("left",) * 3 + ("right",) * 5 + ("left",))


def _recall_table(models: Sequence[_Model], metrics: Sequence[str], averages: Sequence[str]) -> str:
    """The recalls of all models with intervals of their own."""
    cells = []
    for model in models:
        for metric in metrics:
            found = model.interval(metric)
            cells += [(model.name, metric, x, _number(found[x].mean), *_bounds(found[x])) for x in averages]
    header = ("run", "metric", "average", "recall", "95 % from", "to")
    return markdown_table(header, cells, ("left",) * 3 + ("right",) * 3)


def _notes(rows: Sequence[_Row], models: Sequence[_Model]) -> list[str]:
    """What the intervals mean."""
    if len(models[0].runs) > 1:
        numbers = ", ".join(f"{len(model.runs)}" for model in models)
        notes = [f"Intervals: t, over test images and seeds of training ({numbers} runs; the base is first)."]
        if any(model.few_seeds for model in models):
            notes.append(f"Few seeds: fewer than {FEW_SEEDS} runs of a model, so the intervals are wide.")
    else:
        notes = ["Intervals: BCa bootstrap over test images. They say nothing about other seeds of training."]
    if any(row.verdict.startswith("too few images") for row in rows):
        notes.append(
            f"Too few images: the runs differ in fewer than {FEWEST_INFORMATIVE_IMAGES} (micro: weighted by "
            "their relationships), so there is no interval."
        )
    given = sum(row.difference.reliable for row in rows)
    notes.append(
        f"Differences: {len(rows)}, with an interval: {given}. Each interval is for one difference. If all "
        f"models were equal, {given * (1 - _CONFIDENCE):.2g} of them would be shown by chance, on average."
    )
    return notes


def _write_report(
    folder: Path, title: str, rows: Sequence[_Row], models: Sequence[_Model], recalls: str
) -> None:
    """Writes the drawing, then the page that shows it. `recalls` is the table of `_recall_table`."""
    from reldn_d2.visualization.plots import differences_svg  # late: it imports matplotlib

    named = [(f"{row.metric}, {row.average}: {row.name}", row.difference) for row in rows]
    shown = {
        word: sum(row.verdict.startswith(f"shown: {word}") for row in rows) for word in ("higher", "lower")
    }
    alt = (
        f"{len(rows)} differences from the base in percentage points, with 95 % intervals: "
        f"{shown['higher']} shown higher, {shown['lower']} shown lower. The table has the numbers."
    )
    sections = [
        f"# {to_markdown(title)}",
        f"![{alt}]({DRAWING_FILE})",
        "Differences from the base, in percentage points:",
        _difference_table(rows),
        *_notes(rows, models),
        "Recalls with intervals of their own; a dash: too few images. Two of them may overlap although the "
        "difference is shown, since it is taken image by image:",
        recalls,
    ]
    with atomic_write(folder / DRAWING_FILE) as file:
        file.write(f"{differences_svg(named)}\n".encode())
    with atomic_write(folder / REPORT_FILE) as file:
        file.write(("\n\n".join(sections) + "\n").encode())


def _number(value: float) -> str:
    """Two decimals; a rounded zero has no sign."""
    return f"{value:z.2f}"


def _bounds(estimate: Estimate) -> tuple[str, str]:
    if not estimate.reliable:
        return _DASH, _DASH
    return _number(estimate.low), _number(estimate.high)


def _evaluation(folder: Path) -> tuple[str, str]:
    """Data set (by its present name) and task of the results in a folder."""
    dataset_name, task = evaluation_of(folder / PER_IMAGE_FILE)
    return present_dataset_name(dataset_name), task


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """The names of the models: OUTPUT_DIR of their first runs in OUTPUT_DIR/inference/DATASET/TASK.

    Results in another folder have its name. If two runs have the same name, the folders above it are named,
    too.
    """
    outputs = [[_output_of(folder) for folder in folders] for folders in groups]
    every = {output for of_model in outputs for output in of_model}
    names = {output: output.name for output in every}
    if len({*names.values()}) < len(every):
        above = os.path.commonpath(every)
        names = {output: str(output.relative_to(above)) for output in every}
    return [names[first] + (f" and {len(others)} more" if others else "") for first, *others in outputs]


def _output_of(folder: Path) -> Path:
    """OUTPUT_DIR of the folder OUTPUT_DIR/inference/DATASET/TASK; another folder itself."""
    return folder.parents[2] if folder.match("inference/*/*") else folder
