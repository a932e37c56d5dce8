"""`reldn compare`: runs beside a base run, with paired bootstrap intervals over the test images."""

from argparse import Namespace
from pathlib import Path

from reldn_d2.evaluation import load_per_image, paired_bootstrap
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE
from reldn_d2.evaluation.metrics import PerImageRecall, macro_recall, micro_recall
from reldn_d2.renamed import present_dataset_name
from reldn_d2.utils.plain_text import markdown_table, say

from .common import FINISHED, near_misses

_AVERAGES = {"macro": macro_recall, "micro": micro_recall}


def run(args: Namespace) -> int:
    """Prints a Markdown table. Returns the exit status."""
    folders = [results_of(folder, args.dataset, args.task) for folder in (args.base, *args.input)]
    for folder in folders:
        if _evaluation(folder) != _evaluation(folders[0]):
            raise ValueError(
                f"{folders[0]} and {folder} are of different data sets or tasks: choose --dataset or --task"
            )
    base, *runs = (counts_of(folder, args.protocol, args.metrics) for folder in folders)
    rows = [
        row
        for folder, counts in zip(folders[1:], runs, strict=True)
        for metric in args.metrics
        for row in _rows(_name(folder), counts, base, metric, args.averages)
    ]
    say(f"{args.protocol}, percent; {' '.join(folders[0].parts[-2:])}; base: {_name(folders[0])}\n")
    header = ("run", "metric", "average", "run", "base", "difference", "95 % from", "to")
    say(markdown_table(header, rows, ("left",) * 3 + ("right",) * 5))
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
        raise ValueError(f"{folder} has no {unknown[0]} of protocol {protocol}, but {', '.join(counts.hits)}")
    return counts


def _rows(
    name: str, run: PerImageRecall, base: PerImageRecall, metric: str, averages: list[str]
) -> list[tuple[str, ...]]:
    differences = paired_bootstrap(run, base, metric)
    rows: list[tuple[str, ...]] = []
    for average in averages:
        recall, found = _AVERAGES[average], differences[average]
        recalls = [recall(x.hits[metric], x.ground_truths) for x in (run, base)]
        numbers = (*recalls, found.mean, found.low, found.high)
        rows.append((name, metric, average, *(f"{number:.2f}" for number in numbers)))
    return rows


def _evaluation(folder: Path) -> tuple[str, str]:
    """Data set (by its present name) and task of OUTPUT_DIR/inference/DATASET/TASK."""
    return present_dataset_name(folder.parts[-2]), folder.parts[-1]


def _name(folder: Path) -> str:
    """The name of OUTPUT_DIR in OUTPUT_DIR/inference/DATASET/TASK."""
    return folder.parts[-4]
