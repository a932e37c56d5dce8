"""Writes the report of the demo as one HTML file, and prints its summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reldn_d2.evaluation import Difference, PerImageRecall, paired_bootstrap
from reldn_d2.utils.plain_text import say
from reldn_d2.visualization import Report, curves_svg, feature_map_colours, loss_curves, read_metrics

from . import texts
from .cases import KINDS, Scene, chance, chosen_scenes, solved_counts
from .models import BASELINE, FULL
from .pictures import QUESTIONS, case_pictures, graph_pictures, map_pictures
from .steps import Step

RECALLS = ("R@20", "R@50", "ngR@20", "ngR@50")
OPENIMAGES = ("R@50", "wmAP_rel", "wmAP_phr", "score_wtd")


@dataclass(frozen=True)
class Evaluation:
    """Results of one model on one task.

    Attributes:
        metrics: protocol -> metric -> percent.
        per_image: protocol -> counts of every image.
    """

    metrics: Mapping[str, Mapping[str, float]]
    per_image: Mapping[str, PerImageRecall]


# Model -> task -> evaluation.
Results = Mapping[str, Mapping[str, Evaluation]]


@dataclass(frozen=True)
class Demo:
    """Everything that the report shows.

    Attributes:
        folder: the demo's folder, relative to the working directory.
        quick: whether the trainings were a few steps only.
        shown: number of scenes of each kind of confusion to show.
        runs: model -> folder of its training.
        models: L0 and all losses -> the model, for given boxes and classes. They draw the pictures.
        results: model -> task -> evaluation.
        scenes: the test scenes with their confusable cases.
        steps: the commands.
    """

    folder: Path
    quick: bool
    shown: int
    runs: Mapping[str, Path]
    models: Mapping[str, Any]
    results: Results
    scenes: Sequence[Scene]
    steps: Sequence[Step]

    @property
    def samples(self) -> Path:
        """Folder of the sample scenes."""
        return self.folder / "samples"

    @property
    def try_command(self) -> str:
        """The command that runs the trained model on the sample scenes."""
        return f"reldn predict --input {self.samples} --weights {self.runs[FULL]}"


def write_report(demo: Demo) -> Path:
    """Writes report.html into the demo's folder. Returns its path."""
    report = Report("RelDN on drawn scenes")
    if demo.quick:
        report.note(texts.QUICK)
    report.paragraph(texts.MISTAKES).paragraph(texts.ONE_SEED)
    _add_confusions(report, demo)
    _add_scenes(report, demo)
    _add_recall(report, demo.results)
    _add_training(report, demo)
    report.heading("Try it").paragraph(texts.SAMPLES).code(demo.try_command).paragraph(texts.SCENES_ONLY)
    report.heading("Commands").paragraph(texts.COMMANDS)
    report.code("\n".join(f"{step.command}    # {step.seconds:.0f} s" for step in demo.steps))
    path = demo.folder / "report.html"
    report.write(path)
    return path


def print_summary(demo: Demo, report: Path, seconds: float) -> None:
    """Prints the confusions, and where everything lies.

    Args:
        demo: the demo.
        report: file of the report.
        seconds: how long this call of the demo took.
    """
    rows, notes = confusion_table(demo.scenes, list(demo.runs))
    say("\nConfusable cases solved, percent (boxes and classes are given, one seed)")
    say(tabulate(rows, headers="keys", floatfmt=".1f"), *notes, "")
    if demo.quick:
        say(texts.QUICK, "")
    say(
        f"this call:     {seconds / 60:.1f} minutes",
        f"report:        {report}",
        f"picture:       {demo.folder / 'scenes.jpg'}",
        f"weights:       {demo.runs[FULL]}",
        f"sample scenes: {demo.samples}",
        f"try it:        {demo.try_command}",
        texts.SCENES_ONLY,
    )


def _add_confusions(report: Report, demo: Demo) -> None:
    rows, notes = confusion_table(demo.scenes, list(demo.runs))
    report.heading("Who plays which guitar, who holds which cup?").paragraph(texts.CASES).table(
        rows,
        caption="Confusable cases solved, percent",
        digits=1,
        footnotes=[*notes, texts.CHANCE],
    )


def confusion_table(
    scenes: Sequence[Scene], models: Sequence[str]
) -> tuple[list[dict[str, str | float]], list[str]]:
    """The table of solved cases.

    Args:
        scenes: test scenes.
        models: names of the models.

    Returns:
        Rows with the share of solved cases of each kind, in percent, and notes on the differences.
    """
    kinds = [kind for kind in KINDS if any(scene.of_kind(kind) for scene in scenes)]
    counts = {(model, kind): solved_counts(scenes, model, kind) for model in models for kind in kinds}
    rows: list[dict[str, str | float]] = [
        {"model": model, **{kind: _share(counts[model, kind]) for kind in kinds}} for model in models
    ]
    rows.append({"model": "chance", **{kind: chance(scenes, kind) for kind in kinds}})
    notes = []
    for kind in kinds:
        full, base = counts[FULL, kind], counts[BASELINE, kind]
        found = paired_bootstrap(full, base, "solved", method="percentile")["micro"]
        gains = [scene.gain(kind) for scene in scenes]
        notes.append(
            f"{kind}, {full.ground_truths.sum()} cases in {(full.ground_truths > 0).sum()} scenes, {FULL} "
            f"minus {BASELINE}: {_interval(found)}. {FULL} solves more cases in "
            f"{sum(gain > 0 for gain in gains)} scenes, and fewer in {sum(gain < 0 for gain in gains)}."
        )
    return rows, notes


def _share(counts: PerImageRecall) -> float:
    return float(100 * counts.hits["solved"].sum() / counts.ground_truths.sum())


def _interval(found: Difference) -> str:
    return f"{found.mean:+.1f} points (95 % interval {found.low:+.1f} to {found.high:+.1f})"


def _add_scenes(report: Report, demo: Demo) -> None:
    report.heading("Scenes").paragraph(texts.RULE)
    report.paragraph(texts.CASE_PICTURES).legend(texts.MARKS).paragraph(texts.GRAPHS)
    report.paragraph(texts.FEATURE_MAPS).legend([(feature_map_colours(), texts.FEATURE_MAP_COLOURS)])
    for kind in KINDS:
        for scene in chosen_scenes(demo.scenes, kind, demo.shown):
            report.subheading(f"Scene {scene.name}: {QUESTIONS[kind]}")
            report.pictures(case_pictures(scene, kind))
            report.pictures(graph_pictures(demo.models, scene))
            report.pictures(map_pictures(demo.models, scene))


def _add_recall(report: Report, results: Results) -> None:
    report.heading("Recall").paragraph(texts.RECALL).table(
        recall_rows(results),
        caption="Recall (protocol motifs, mean over images), percent",
        digits=1,
        footnotes=[texts.RECALL_COLUMNS, *interval_notes(results)],
    ).paragraph(texts.FREQUENCY_ONLY)
    report.heading("Average precision").paragraph(texts.PRECISION).table(
        [
            {"model": name, **{m: tasks["sgdet"].metrics["reldn_openimages"][m] for m in OPENIMAGES}}
            for name, tasks in results.items()
            if "sgdet" in tasks
        ],
        caption="sgdet (protocol reldn_openimages), percent",
        digits=1,
        footnotes=[texts.PRECISION_COLUMNS],
    )


def recall_rows(results: Results) -> list[dict[str, str | float]]:
    """The rows of the table of recall: one for each task and model."""
    return [
        {"task": task, "model": name, **{m: tasks[task].metrics["motifs"][m] for m in RECALLS}}
        for task in ("prdcls", "sgdet")
        for name, tasks in results.items()
        if task in tasks
    ]


def interval_notes(results: Results) -> list[str]:
    """For each task, the difference in R@20 between the full model and L0, with its interval."""
    notes = []
    for task, evaluation in results[FULL].items():
        per_image = (evaluation.per_image["motifs"], results[BASELINE][task].per_image["motifs"])
        found = paired_bootstrap(*per_image, "R@20", method="percentile")["macro"]
        notes.append(f"{task} R@20, {FULL} minus {BASELINE}: {_interval(found)}.")
    return notes


def _add_training(report: Report, demo: Demo) -> None:
    report.heading("Training").paragraph(texts.LOSSES).pictures(
        [
            (curves_svg(loss_curves(read_metrics(demo.runs[name] / "metrics.json"))), f"Losses of {name}")
            for name in (BASELINE, FULL)
        ]
    )
