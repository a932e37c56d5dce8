"""Score a split under several named protocols. Pure: arrays in, numbers out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .graphs import GroundTruthGraph, PredictedGraph, Task
from .protocols.confusion import ConfusionProtocol, is_confusable
from .protocols.openimages import openimages, reldn_openimages
from .protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult, ScoredImage
from .protocols.recall import PUBLISHED_PREDICATES_PER_PAIR, motifs, reldn, vrd2016

PROTOCOLS: dict[str, Callable[..., EvaluationProtocol[Any]]] = {
    "motifs": motifs,
    "reldn": reldn,
    "vrd2016": vrd2016,
    "openimages": openimages,
    "reldn_openimages": reldn_openimages,
    "confusion": ConfusionProtocol,
}


def make_protocols(
    names: Sequence[str],
    *,
    predicates_per_pair: Sequence[int] = PUBLISHED_PREDICATES_PER_PAIR,
    left_out: Sequence[str] = (),
) -> list[EvaluationProtocol[Any]]:
    """Protocols by name, with settings for those that have them.

    Args:
        names: names in `PROTOCOLS`.
        predicates_per_pair: the k's of `reldn`.
        left_out: predicates that the starred numbers of `openimages` and `reldn_openimages` leave out.

    Raises:
        ValueError: for an unknown name, or k's that are no distinct numbers from 1.
    """
    settings: dict[str, dict[str, Any]] = {
        "reldn": {"predicates_per_pair": predicates_per_pair},
        "openimages": {"left_out": left_out},
        "reldn_openimages": {"left_out": left_out},
    }
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise ValueError(f"unknown protocol '{unknown[0]}'; the protocols are {', '.join(PROTOCOLS)}")
    return [PROTOCOLS[name](**settings.get(name, {})) for name in names]


def resolve_protocols(
    protocols: Sequence[str | EvaluationProtocol[Any]], task: Task, predicate_classes: Sequence[str]
) -> tuple[EvaluationProtocol[Any], ...]:
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
            (protocol,) = make_protocols([protocol])
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
    protocols: Sequence[str | EvaluationProtocol[Any]],
    split: EvaluatedSplit,
    *,
    subsets: Mapping[str, Collection[str]] | None = None,
    allow_missing: bool = False,
) -> dict[str, ProtocolResult]:
    """Score a split, and parts of it.

    Images are taken in the order of their ids as text, whatever the order of the mappings; that order decides
    between equal scores of different images, inside an image the order of its list does.

    Args:
        truths: image id -> annotation, of every image of the split.
        predictions: image id -> prediction, its triplets best first, as `rank_triplets` and
            `checks.prepare_prediction` return them.
        task: SGDET, SGCLS or PRDCLS.
        protocols: as for `resolve_protocols`.
        split: names of the predicates, and what is known of the training split.
        subsets: name -> ids of images that are also reported alone. One without an annotated relationship is
            left out.
        allow_missing: count an image without prediction as one where nothing was found.

    Returns:
        Results by name of the protocol, in the order of `protocols`, and by "protocol_subset" for the subsets.

    Raises:
        ValueError: if a protocol does not fit (see `resolve_protocols`), if a prediction has an unknown image id or
            lacks what a protocol needs or is not ranked, if an image has no prediction and `allow_missing` is not set, or if no image has an annotated
            relationship.
    """
    resolved = resolve_protocols(protocols, task, split.predicate_classes)
    unknown = sorted(predictions.keys() - truths.keys())
    if unknown:
        raise ValueError(f"predictions for images that the data set does not have: {', '.join(unknown[:5])}")
    if not any(len(truth.relations) for truth in truths.values()):
        raise ValueError("the data set has no annotated relationship: there is nothing to evaluate")
    missing = sorted(truths.keys() - predictions.keys())
    if missing and not allow_missing:
        raise ValueError(
            f"{len(missing)} of {len(truths)} images have no prediction: image {', '.join(missing[:5])}. An image where "
            "nothing was found needs an empty prediction; allow_missing counts missing ones as such"
        )
    nothing = PredictedGraph.empty()
    ids = sorted(truths)
    for image_id, predicted in predictions.items():
        _check_usable(predicted, truths[image_id], task, resolved, f"image {image_id}")
    images = [_scored_image(i, truths[i], predictions.get(i, nothing), split) for i in ids]
    chosen = {"": np.arange(len(ids))}
    for name, members in (subsets or {}).items():
        chosen[f"_{name}"] = np.flatnonzero([image_id in members for image_id in ids])
    results: dict[str, ProtocolResult] = {}
    for protocol in resolved:
        records = [protocol.match(image, task) for image in images]
        for suffix, rows in chosen.items():
            if any(len(truths[ids[row]].relations) for row in rows):
                result = protocol.summarise([ids[i] for i in rows], [records[i] for i in rows], split)
                counts = {f"{name}{suffix}": value for name, value in result.per_image.items()}
                results[f"{protocol.name}{suffix}"] = replace(result, per_image=counts)
    return results


def _check_usable(
    predicted: PredictedGraph,
    truth: GroundTruthGraph,
    task: Task,
    protocols: Sequence[EvaluationProtocol[Any]],
    where: str,
) -> None:
    """What would give a wrong number without a sign; `checks.prepare_prediction` checks more."""
    # Not `> 0`: NaN must not pass.
    if not (np.diff(predicted.relations.score) <= 0).all() or np.isnan(predicted.relations.score[:1]).any():
        raise ValueError(f"{where}: triplets must come best first; rank_triplets ranks them")
    for protocol in protocols if len(truth.relations) else ():
        if "annotated_pairs" in protocol.needs and task != "SGDET" and predicted.annotated is None:
            raise ValueError(f"{where}: protocol {protocol.name} ranks the annotated pairs; give `annotated`")
        if "named_triplets" in protocol.needs and predicted.named is None and is_confusable(truth):
            raise ValueError(f"{where}: protocol {protocol.name} compares named triplets; give `named`")


def _scored_image(
    image_id: str, truth: GroundTruthGraph, predicted: PredictedGraph, split: EvaluatedSplit
) -> ScoredImage:
    zero_shot = None if split.training is None else split.training.is_zero_shot(truth)
    return ScoredImage(image_id, truth, predicted, zero_shot)
