"""Bootstrap intervals of the difference between two lines, over test images and runs of several seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from reldn_d2.evaluation import load_per_image, paired_bootstrap
from reldn_d2.evaluation.bootstrap import Difference
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE
from reldn_d2.evaluation.metrics import PerImageRecall
from reldn_d2.evaluation.protocols.confusion import KINDS

from .runs import Run

_Counts = Mapping[str, PerImageRecall]


def pooled_differences(
    keys: Mapping[str, str], runs: Sequence[Run], base: Sequence[Run]
) -> dict[str, Difference]:
    """Paired percentile bootstrap over images. A drawn image counts with the results of all seeds.

    Args:
        keys: column -> "task/protocol/metric".
        runs: finished runs of a line, one or more.
        base: the same number of runs of the line to compare with.

    Returns:
        Column -> difference in points. Columns that are not a share of an image's relationships or cases,
        such as AP, are not included.

    Raises:
        ValueError: the runs were evaluated on different images.
    """
    found = {}
    for task in {key.split("/")[0] for key in keys.values()}:
        ours, theirs = ([_load(run, task) for run in x] for x in (runs, base))
        for name, key in keys.items():
            of_task, protocol, metric = key.split("/", 2)
            if of_task != task:
                continue
            pooled = [_pooled(counts, protocol, metric) for counts in (ours, theirs)]
            if pooled[0] is None or pooled[1] is None or not pooled[0].ground_truths.any():
                continue
            # The average that the protocol reports under its plain metric names (docs/evaluation.md).
            average = "macro" if protocol.startswith("motifs") else "micro"
            found[name] = paired_bootstrap(pooled[0], pooled[1], metric, method="percentile")[average]
    return found


def _load(run: Run, task: str) -> _Counts:
    path = run.results_folder(task) / PER_IMAGE_FILE
    return load_per_image(path) if path.is_file() else {}


def _pooled(runs: Sequence[_Counts], protocol: str, metric: str) -> PerImageRecall | None:
    """The counts of several runs on the same images, added up image by image; None if a run has no counts."""
    # `confusion` has one name for each kind; other protocols have their own name.
    names = (protocol, *(f"{protocol}_{kind}" for kind in KINDS))
    found = [
        counts[name] for counts in runs for name in names if name in counts and metric in counts[name].hits
    ]
    if len(found) < len(runs):
        return None
    first = found[0]
    if any(counts.image_ids != first.image_ids for counts in found):
        raise ValueError(
            f"runs of different seeds were evaluated on different images ({protocol}): delete their results"
        )
    truths = np.sum([counts.ground_truths for counts in found], axis=0)
    hits = np.sum([counts.hits[metric] for counts in found], axis=0)
    return PerImageRecall(first.image_ids, truths, {metric: hits})
