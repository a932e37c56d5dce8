"""Score a split under several named protocols. Pure: arrays in, numbers out."""

import logging
from collections.abc import Callable, Mapping, Sequence

import tabulate

from .graphs import GroundTruthGraph, PredictedGraph, Task
from .openimages import reldn_openimages
from .protocols import EvaluationProtocol, ProtocolResult, ScoredImage, motifs, reldn

PROTOCOLS: dict[str, Callable[[], EvaluationProtocol]] = {
    "motifs": motifs,
    "reldn": reldn,
    "reldn_openimages": reldn_openimages,
}

_logger = logging.getLogger(__name__)


def resolve_protocols(
    protocols: Sequence[str | EvaluationProtocol], task: Task, predicate_classes: Sequence[str]
) -> tuple[EvaluationProtocol, ...]:
    """Turn names into protocols with their default settings, and check that they fit the task and vocabulary.

    Args:
        protocols: names in `PROTOCOLS`, or protocols made with other settings.
        task: the task to be evaluated.
        predicate_classes: P names.

    Raises:
        ValueError: for an unknown name, for a protocol that does not fit the task or vocabulary, if one is
            given twice, or if there is none.
    """
    resolved = []
    for protocol in protocols:
        if isinstance(protocol, str):
            if protocol not in PROTOCOLS:
                raise ValueError(f"unknown protocol '{protocol}'; the protocols are {', '.join(PROTOCOLS)}")
            protocol = PROTOCOLS[protocol]()
        if task not in protocol.tasks:
            raise ValueError(
                f"protocol {protocol.name} is for {', '.join(protocol.tasks)}, not for {task}: leave it out"
            )
        protocol.check_vocabulary(predicate_classes)
        resolved.append(protocol)
    names = [protocol.name for protocol in resolved]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"need at least one protocol and each once, got {names}")
    return tuple(resolved)


def evaluate_graphs(
    truths: Mapping[str, GroundTruthGraph],
    predictions: Mapping[str, PredictedGraph],
    task: Task,
    protocols: Sequence[EvaluationProtocol],
    predicate_classes: Sequence[str],
) -> dict[str, ProtocolResult]:
    """Score a split.

    Images are taken in the order of their ids as text, whatever the order of the mappings; that order decides
    between equal scores of different images, inside an image the order of its list does.

    Args:
        truths: image id -> annotation, of every image of the split.
        predictions: image id -> prediction as `checks.prepare_prediction` returns it. An image without one
            scores as if the model had found nothing there.
        task: SGDET, SGCLS or PRDCLS.
        protocols: as `resolve_protocols` returns them.
        predicate_classes: P names.

    Returns:
        protocol name -> result, in the order of `protocols`.

    Raises:
        ValueError: if a prediction has an unknown image id or no image has an annotated relationship.
    """
    unknown = sorted(predictions.keys() - truths.keys())
    if unknown:
        raise ValueError(f"predictions for images that the data set does not have: {', '.join(unknown[:5])}")
    if not any(len(truth.relations) for truth in truths.values()):
        raise ValueError("the data set has no annotated relationship: there is nothing to evaluate")
    missing = [image_id for image_id in sorted(truths) if image_id not in predictions]
    if missing:
        _logger.warning(
            "%d of %d images have no prediction and count as images where nothing was found, e.g. %s",
            *(len(missing), len(truths), ", ".join(missing[:5])),
        )
    nothing = PredictedGraph.empty()
    images = [
        ScoredImage(image_id, truths[image_id], predictions.get(image_id, nothing))
        for image_id in sorted(truths)
    ]
    return {protocol.name: protocol.score(images, task, predicate_classes) for protocol in protocols}


def results_table(metrics: Mapping[str, float]) -> str:
    """Readable table of one protocol's numbers: recalls by K, then the others."""
    recalls: dict[str, dict[int, float]] = {}
    others = []
    for name, value in metrics.items():
        kind, at, k = name.rpartition("@")
        if at and k.isdigit():
            recalls.setdefault(kind, {})[int(k)] = value
        else:
            others.append((name, value))
    ks = sorted({k for row in recalls.values() for k in row})
    tables = []
    if recalls:
        rows = [[f"{kind}@K", *(row.get(k) for k in ks)] for kind, row in recalls.items()]
        tables.append(tabulate.tabulate(rows, ["", *(f"K={k}" for k in ks)], "pipe", floatfmt=".2f"))
    if others:
        tables.append(tabulate.tabulate(others, ["", "%"], "pipe", floatfmt=".2f"))
    return "\n\n".join(tables)
