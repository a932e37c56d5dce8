"""Writes the report of the demo: tables, loss curves, scene graphs and feature maps in one HTML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from tabulate import tabulate

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.synthetic import confusable_cases
from reldn_d2.engine import load_config, load_model
from reldn_d2.evaluation import Difference, PerImageRecall, paired_bootstrap
from reldn_d2.structures import Queries
from reldn_d2.visualization import (
    Report,
    curves_svg,
    draw_scene_graph,
    feature_map_overlay,
    ground_truth_to_dict,
    loss_curves,
    read_metrics,
    scene_graph_svg,
    scene_graph_to_dict,
    side_by_side,
)
from reldn_d2.visualization.images import Image, write_png
from reldn_d2.visualization.svg import Svg

DATASET = "scenes_test"
BASELINE, FULL = "L0", "L0+L1+L2+L3"
NUM_PICTURES = 6
KINDS = ("instance", "proximity")
RECALLS = ("R@20", "R@50", "ngR@20", "ngR@50")
OPENIMAGES = ("R@50", "wmAP_rel", "wmAP_phr", "score_wtd")
INTRODUCTION = (
    "RelDN finds <subject, predicate, object> relationships. When it is trained with cross entropy alone "
    "(L0), such a model mistakes one instance of a class for another (which of the cups is held?) and "
    "confuses neighbours that do the same thing (who plays which guitar?). Three contrastive losses (L1, L2, "
    "L3) work against that. The models below were trained once each, on the same drawn scenes and with the "
    "same detections of one frozen detector. So a difference between them is an observation, not a proof. "
    "The interval under the table says only how much of the difference the choice of test scenes could "
    "explain, not what another random seed would change."
)


@dataclass
class Step:
    """A command of the demo and the time that it took."""

    command: str
    seconds: float = 0.0


@dataclass
class Evaluation:
    """Metrics of one model on one task: protocol -> name -> percent, and the counts of every image."""

    metrics: dict[str, dict[str, float]]
    per_image: dict[str, PerImageRecall]


# Model -> task -> evaluation.
Results = Mapping[str, Mapping[str, Evaluation]]


def write_report(output: Path, weights: Mapping[str, Path], results: Results, steps: list[Step]) -> Path:
    """Write `report.html` and print its main tables.

    Args:
        output: the demo's folder.
        weights: checkpoint of each model.
        results: model -> task -> evaluation.
        steps: the commands that were run.

    Returns:
        The file that was written.
    """
    report = Report("RelDN on built-in scenes").paragraph(INTRODUCTION)
    report.heading("Metrics")
    add_recall(report, results)
    models = {name: load_trained(path) for name, path in weights.items()}
    dataset_dicts = DatasetCatalog.get(DATASET)
    add_confusions(report, *solved_cases(models, dataset_dicts))
    report.heading("Training")
    for name in (BASELINE, FULL):
        curves = loss_curves(read_metrics(weights[name].parent / "metrics.json"))
        report.pictures([(curves_svg(curves), f"Losses of {name}")])
    shown = {name: models[name] for name in (BASELINE, FULL)}
    add_pictures(report, shown, dataset_dicts, output / "pictures")
    report.heading("Commands")
    report.code("\n".join(f"{step.command}    # {step.seconds:.0f} s" for step in steps))
    path = output / "report.html"
    report.write(path)
    return path


def add_recall(report: Report, results: Results) -> None:
    """Add the tables of recall and of the OpenImages metrics, and print the first one."""
    rows, intervals = recall_rows(results), interval_notes(results)
    print_table("Recall (motifs, mean over images), percent, one seed each", rows, intervals)
    report.table(
        rows,
        caption="Recall, protocol motifs (mean over images), percent",
        footnotes=[
            "One seed each. prdcls: boxes and classes are given; sgdet: nothing is given. R: one predicate "
            "per pair; ngR: any number of predicates per pair.",
            *intervals,
        ],
    )
    report.table(
        [
            {"model": name, **{m: tasks["sgdet"].metrics["sgdet/reldn_openimages"][m] for m in OPENIMAGES}}
            for name, tasks in results.items()
            if "sgdet" in tasks
        ],
        caption="sgdet, protocol reldn_openimages, percent",
    )


def add_confusions(
    report: Report, counts: Mapping[str, Mapping[str, PerImageRecall]], chance: Mapping[str, float]
) -> None:
    """Add the table of confusable cases, and print it."""
    rows, notes = confusion_table(counts, chance)
    print_table("Confusable cases solved (prdcls), percent, one seed each", rows, notes)
    report.table(
        rows,
        caption="Confusable cases solved in prdcls, percent",
        footnotes=[
            *notes,
            "One seed each. A case is solved if the annotated triplet has a higher score than every wrong "
            "one: the same person with another cup (instance), a musician with the guitar of somebody else "
            "(proximity). Chance: the share that random scores solve.",
        ],
    )


def recall_rows(results: Results) -> list[dict[str, Any]]:
    """The rows of the table of recall: one for each task and model."""
    return [
        {
            "task": task,
            "model": name,
            **{m: tasks[task].metrics[f"{task}/motifs"][m] for m in RECALLS},
        }
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
        notes.append(f"{task} R@20, {FULL} minus {BASELINE}: {interval(found)}")
    return notes


def print_table(title: str, rows: list[dict[str, Any]], notes: list[str]) -> None:
    """Print a table with its title and notes."""
    print(f"\n{title}\n{tabulate(rows, headers='keys', floatfmt='.1f')}")
    print("\n".join(notes))


def load_trained(weights: Path) -> Any:
    """Load a model for prdcls on the test scenes, from a checkpoint and the config beside it."""
    cfg = load_config(str(weights.parent / "config.yaml"), ["MODEL.WEIGHTS", str(weights)])
    cfg.DATASETS.TEST = (DATASET,)
    model: Any = load_model(cfg)
    model.task = "prdcls"
    return model


@torch.no_grad()
def solved_cases(
    models: Mapping[str, Any], dataset_dicts: list[dict[str, Any]]
) -> tuple[dict[str, dict[str, PerImageRecall]], dict[str, float]]:
    """Count the confusable cases that each model solves when boxes and classes are given.

    Returns:
        Two mappings: model -> kind -> counts of cases and of solved cases in every scene, and kind -> chance
        level in percent.
    """
    mapper = RelationDatasetMapper(is_train=False, augmentations=[], image_format="BGR")
    solved = {name: {kind: np.zeros(len(dataset_dicts), dtype=np.int64) for kind in KINDS} for name in models}
    cases = {kind: np.zeros(len(dataset_dicts), dtype=np.int64) for kind in KINDS}
    chances: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row, dataset_dict in enumerate(dataset_dicts):
        found = confusable_cases(dataset_dict)
        candidates = sorted({triplet for case in found for triplet in (case.relation, *case.wrong)})
        if not candidates:
            continue
        pairs = [(subject, object) for subject, object, _ in candidates]
        inputs = {**mapper(dataset_dict), "queries": Queries.from_rows(pairs=pairs)}
        for case in found:
            cases[case.kind][row] += 1
            chances[case.kind].append(case.chance)
        for name, model in models.items():
            probs = model([inputs])[0]["pair_answers"].predicate_probs
            score = {triplet: float(probs[i, triplet[2]]) for i, triplet in enumerate(candidates)}
            for case in found:
                solved[name][case.kind][row] += case.is_solved(score)
    ids = tuple(str(dataset_dict["image_id"]) for dataset_dict in dataset_dicts)
    counts = {
        name: {kind: PerImageRecall(ids, cases[kind], {"solved": hits[kind]}) for kind in KINDS}
        for name, hits in solved.items()
    }
    return counts, {kind: 100 * float(np.mean(values)) for kind, values in chances.items()}


def confusion_table(
    counts: Mapping[str, Mapping[str, PerImageRecall]], chance: Mapping[str, float]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the table of solved cases, and its notes with intervals."""
    rows: list[dict[str, Any]] = [
        {"model": name, **{k: 100 * x.hits["solved"].sum() / x.ground_truths.sum() for k, x in kinds.items()}}
        for name, kinds in counts.items()
    ]
    rows.append({"model": "chance", **chance})
    notes = []
    for kind in KINDS:
        found = paired_bootstrap(counts[FULL][kind], counts[BASELINE][kind], "solved")["micro"]
        cases = counts[FULL][kind].ground_truths.sum()
        notes.append(f"{kind} ({cases} cases), {FULL} minus {BASELINE}: {interval(found)}")
    return rows, notes


def interval(found: Difference) -> str:
    """A difference and its interval as text."""
    bounds = f"95 % interval {found.low:+.1f} to {found.high:+.1f}"
    return f"{found.mean:+.1f} points, {bounds} (paired bootstrap over scenes)"


@torch.no_grad()
def add_pictures(
    report: Report, models: Mapping[str, Any], dataset_dicts: list[dict[str, Any]], folder: Path
) -> None:
    """Add scene graphs and feature maps of the first scenes with a confusable case.

    Args:
        report: report that the pictures are added to.
        models: name -> model.
        dataset_dicts: the test scenes.
        folder: folder in which each row of scenes is also written as a PNG file.
    """
    report.heading("Scene graphs: ground truth and the best predictions in prdcls")
    report.paragraph(
        "As many predictions are drawn as there are annotated relationships; right ones are green, wrong "
        "ones are red. Below each row: the mean over channels of the finest feature map of the detector's "
        "backbone and of the two predicate backbones, as in figures 4 and 5 of the paper."
    )
    mapper = RelationDatasetMapper(is_train=False, augmentations=[], image_format="BGR")
    for dataset_dict in chosen_scenes(dataset_dicts):
        image, inputs = read_image(dataset_dict["file_name"], "RGB"), mapper(dataset_dict)
        scenes, graphs = graph_pictures(models, dataset_dict, inputs, image)
        report.pictures(scenes).pictures(graphs).pictures(map_pictures(models, inputs, image))
        row = side_by_side([picture for picture, _ in scenes], [title for _, title in scenes])
        write_png(row, folder / f"{Path(dataset_dict['file_name']).stem}.png")


def graph_pictures(
    models: Mapping[str, Any], dataset_dict: dict[str, Any], inputs: dict[str, Any], image: Image
) -> tuple[list[tuple[Image, str]], list[tuple[Svg, str]]]:
    """The ground truth and the predictions of each model: drawn on the image, and as node-link drawings."""
    metadata = MetadataCatalog.get(DATASET)
    vocabulary = (metadata.thing_classes, metadata.predicate_classes)
    truth = ground_truth_to_dict(dataset_dict, *vocabulary)
    annotated = {(r["subject"], r["object"], r["predicate"]) for r in truth["relationships"]}
    scenes = [(draw_scene_graph(image, truth, text_scale=1.7), "ground truth")]
    graphs = [(scene_graph_svg(truth), "ground truth")]
    for name, model in models.items():
        graph = scene_graph_to_dict(model([inputs])[0], *vocabulary, top_k=max(len(annotated), 1))
        right = [(r["subject"], r["object"], r["predicate"]) in annotated for r in graph["relationships"]]
        scenes.append((draw_scene_graph(image, graph, correct=right, text_scale=1.7), name))
        graphs.append((scene_graph_svg(graph, correct=right), name))
    return scenes, graphs


def map_pictures(models: Mapping[str, Any], inputs: dict[str, Any], image: Image) -> list[tuple[Image, str]]:
    """The feature maps of the detector, which all models share, and of each model's predicate backbone."""
    backbones = {"detector": next(iter(models.values())).backbone}
    backbones |= {f"predicate backbone, {name}": model.relation_backbone for name, model in models.items()}
    batch = next(iter(models.values())).preprocess_image([inputs]).tensor
    return [
        (feature_map_overlay(finest_map(backbone, batch), image), title)
        for title, backbone in backbones.items()
    ]


def chosen_scenes(dataset_dicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first scenes of each kind of confusion, the same number of each kind."""
    chosen = []
    for kind in KINDS:
        scenes = (d for d in dataset_dicts if any(case.kind == kind for case in confusable_cases(d)))
        chosen += list(islice(scenes, NUM_PICTURES // 2))
    return chosen


def finest_map(backbone: Any, batch: torch.Tensor) -> torch.Tensor:
    """(C, h, w) feature map of the highest resolution, for the first image of a batch."""
    maps: dict[str, torch.Tensor] = backbone(batch)
    return next(iter(maps.values()))[0]
