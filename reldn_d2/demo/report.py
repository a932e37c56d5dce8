"""Writes the report of the demo as one HTML file, and prints its summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reldn_d2.evaluation import Difference, PerImageRecall, paired_bootstrap
from reldn_d2.visualization import Report, curves_svg, feature_map_colours, loss_curves, read_metrics

from .cases import KINDS, RULE, Scene, chance, chosen_scenes, solved_counts
from .models import BASELINE, FREQUENCY, FULL, WITHOUT_PIXELS
from .pictures import QUESTIONS, case_pictures, graph_pictures, map_pictures
from .steps import Step

SCENES_OF_A_KIND = 3
RECALLS = ("R@20", "R@50", "ngR@20", "ngR@50")
OPENIMAGES = ("R@50", "wmAP_rel", "wmAP_phr", "score_wtd")
QUICK_NOTE = (
    "This was a quick demo: a few steps of each training, on a few scenes. It shows that everything works. Its "
    "numbers and pictures mean nothing. `reldn demo` without --quick trains for real."
)
SCENES_ONLY = (
    "The weights of this demo know drawn scenes only: six classes, seven predicates, one style. On photos they "
    "find nothing that makes sense."
)


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
        runs: model -> folder of its training.
        models: model -> the model, for given boxes and classes.
        results: model -> task -> evaluation.
        scenes: the test scenes with their confusable cases.
        steps: the commands.
    """

    folder: Path
    quick: bool
    runs: Mapping[str, Path]
    models: Mapping[str, Any]
    results: Results
    scenes: Sequence[Scene]
    steps: Sequence[Step]

    @property
    def try_command(self) -> str:
        """The command that runs the trained model on the sample scenes."""
        return f"reldn predict --input {self.folder / 'samples'} --weights {self.runs[FULL]}"


def write_report(demo: Demo) -> Path:
    """Writes report.html into the demo's folder. Returns its path."""
    report = Report("RelDN on drawn scenes")
    if demo.quick:
        report.note(QUICK_NOTE)
    report.paragraph(
        "RelDN finds relationships between the entities of an image: <person, plays, guitar>. A model that is "
        f"trained with cross entropy alone ({BASELINE}) makes two mistakes. It mixes up neighbours who do the "
        "same thing (who plays which guitar?), and it takes one instance of a class for another (who holds which "
        "cup?). The three contrastive losses L1, L2 and L3 work against these mistakes."
    ).paragraph(
        "All models below were trained once, with the same seed, on the same drawn scenes and the same detections. "
        "So a difference between two models is an observation, not a proof: another seed gives other numbers. The "
        "intervals say only how much the choice of test scenes could change a difference."
    )
    _add_confusions(report, demo)
    _add_scenes(report, demo)
    _add_recall(report, demo)
    _add_training(report, demo)
    report.heading("Try it").paragraph(
        f"Ten test scenes without drawings lie in {demo.folder / 'samples'}. This command finds their "
        "relationships:"
    ).code(demo.try_command).paragraph(SCENES_ONLY)
    report.heading("Commands").paragraph("These commands made everything on this page, in this order.")
    report.code("\n".join(f"{step.command}    # {step.seconds:.0f} s" for step in demo.steps))
    path = demo.folder / "report.html"
    report.write(path)
    return path


def print_summary(demo: Demo, report: Path) -> None:
    """Prints the confusions, and where everything lies."""
    rows, notes = confusion_table(demo.scenes, list(demo.models))
    print("\nConfusable cases solved, percent (boxes and classes are given, one seed)")
    print(tabulate(rows, headers="keys", floatfmt=".1f"))
    print("\n".join(notes))
    if demo.quick:
        print(f"\n{QUICK_NOTE}")
    seconds = sum(step.seconds for step in demo.steps)
    print(f"\nThe steps took {seconds / 60:.1f} minutes.")
    print(f"report:          {report}")
    print(f"picture:         {demo.folder / 'scenes.jpg'}")
    print(f"trained weights: {demo.runs[FULL]}")
    print(f"sample scenes:   {demo.folder / 'samples'}")
    print(f"try it:          {demo.try_command}")
    print(SCENES_ONLY)


def _add_confusions(report: Report, demo: Demo) -> None:
    rows, notes = confusion_table(demo.scenes, list(demo.models))
    report.heading("Confusions: who plays which guitar, who holds which cup?").paragraph(
        "The table says how many confusable cases each model solves: the annotated triplet must get a higher score "
        "than every wrong one, which is a musician with somebody else's guitar (proximity), or the same person with "
        "another cup (instance)."
    ).table(
        rows,
        caption="Confusable cases solved when boxes and classes are given, percent",
        digits=1,
        footnotes=[
            *notes,
            "chance: the share that random scores solve. "
            f"{WITHOUT_PIXELS}: a model that sees classes and boxes, but no pixels. Only the pixels show the "
            "answers, so it can only guess.",
        ],
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
        found = paired_bootstrap(full, base, "solved")["micro"]
        gains = [scene.gain(kind) for scene in scenes]
        notes.append(
            f"{kind}, {FULL} minus {BASELINE}: {_interval(found)}. {FULL} solves more of the "
            f"{full.ground_truths.sum()} cases in {sum(gain > 0 for gain in gains)} scenes, and fewer in "
            f"{sum(gain < 0 for gain in gains)}."
        )
    return rows, notes


def _share(counts: PerImageRecall) -> float:
    return float(100 * counts.hits["solved"].sum() / counts.ground_truths.sum())


def _interval(found: Difference) -> str:
    return f"{found.mean:+.1f} points (95 % interval {found.low:+.1f} to {found.high:+.1f}, over scenes)"


def _add_scenes(report: Report, demo: Demo) -> None:
    shown = {name: demo.models[name] for name in (BASELINE, FULL)}
    report.heading("Scenes").paragraph(
        f"The scenes are chosen by a rule, not because they look good. {RULE} Boxes and classes are given to the "
        "models."
    ).legend(
        [
            (["#0d7333"], "✓ the annotated triplet"),
            (["#b31f1f"], "✗ a wrong one"),
            (["#101418"], "annotation"),
        ]
    ).paragraph(
        "An arrow goes from subject to object, in the colour of the subject; its label is the predicate. The pictures "
        "of a scene show only the triplets in question: of each case, the one to which the model gives the highest "
        "score. The drawings below them show whole scene graphs: as many of the best predictions as there are "
        "annotated relationships. An entity has the same name and colour everywhere."
    ).paragraph(
        "The last line shows feature maps, as figures 4 and 5 of the paper: where the finest map of a backbone "
        "responds, as the mean over its channels. All models share the detector's backbone; the predicate backbone "
        "is trained with each."
    ).legend([(feature_map_colours(), "lowest to highest response within one map; two maps can't be compared")])
    for kind in KINDS:
        for scene in chosen_scenes(demo.scenes, kind, SCENES_OF_A_KIND):
            report.subheading(f"Scene {scene.name}: {QUESTIONS[kind]}")
            report.pictures(case_pictures(scene, kind))
            report.pictures(graph_pictures(shown, scene))
            report.pictures(map_pictures(shown, scene))


def _add_recall(report: Report, demo: Demo) -> None:
    report.heading("Recall").paragraph(
        "Recall says how many annotated relationships are among the best 20 or 50 predictions; a scene has about "
        "six, so nearly every order of the predictions finds nearly all of them, and recall hardly shows the "
        "confusions."
    ).table(
        recall_rows(demo.results),
        caption="Recall (protocol motifs, mean over images), percent",
        digits=1,
        footnotes=[
            "prdcls: boxes and classes are given. sgdet: nothing is given. R: one predicate for each pair. "
            "ngR: any number of predicates for each pair.",
            *interval_notes(demo.results),
            f"{FREQUENCY} can stand above {WITHOUT_PIXELS}, ",
        ],
    )
    report.paragraph(
        "The measures of OpenImages weigh each predicate by how often it is annotated; wmAP is a mean average "
        "precision, and score_wtd = 0.2 R@50 + 0.4 wmAP_rel + 0.4 wmAP_phr."
    ).table(
        [
            {"model": name, **{m: tasks["sgdet"].metrics["reldn_openimages"][m] for m in OPENIMAGES}}
            for name, tasks in demo.results.items()
            if "sgdet" in tasks
        ],
        caption="sgdet (protocol reldn_openimages), percent",
        digits=1,
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
        found = paired_bootstrap(*per_image, "R@20")["macro"]
        notes.append(f"{task} R@20, {FULL} minus {BASELINE}: {_interval(found)}.")
    return notes


def _add_training(report: Report, demo: Demo) -> None:
    report.heading("Training").paragraph(
        "The losses by iteration: loss_rel is cross entropy (L0), the three others are the contrastive losses, and "
        "the legend gives the last value of each."
    ).pictures(
        [
            (curves_svg(loss_curves(read_metrics(demo.runs[name] / "metrics.json"))), f"Losses of {name}")
            for name in (BASELINE, FULL)
        ]
    )
