"""The recall protocols in plain loops, from the definitions in docs/evaluation.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reldn_d2.evaluation.graphs import GroundTruthGraph, PairAnswers, PredictedGraph

Row = tuple[int, int, int, float, int]  # subject, object, predicate, score, rank in pair
Labels = tuple[int, int, int]  # classes of subject and object, predicate
Found = list[list[bool]]  # for every image, whether each of its annotated relationships is found
ALL = 10**9  # predicates a pair


@dataclass(frozen=True)
class RankedImage:
    """An image and its triplets, best first; the rows point to entities of `predicted`."""

    truth: GroundTruthGraph
    predicted: PredictedGraph
    rows: list[Row]


def slow_iou(a: Sequence[float], b: Sequence[float], offset: float) -> float:
    def area(x0: float, y0: float, x1: float, y1: float) -> float:
        return max(0.0, x1 - x0 + offset) * max(0.0, y1 - y0 + offset)

    common = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    together = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - common
    return common / together if together else 0.0


def slow_overlap(
    predicted: PredictedGraph,
    row: Row,
    truth: GroundTruthGraph,
    relation: Sequence[int],
    phrase: bool,
    offset: float,
) -> float | None:
    """Overlap of a triplet with an annotated relationship; None where a label differs."""
    if row[2] != relation[2]:
        return None
    entities = ((row[0], relation[0]), (row[1], relation[1]))
    if any(predicted.classes[e] != truth.classes[g] for e, g in entities):
        return None
    boxes = [(predicted.boxes[e].tolist(), truth.boxes[g].tolist()) for e, g in entities]
    if phrase:
        a, b = (
            [min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3])]
            for s, o in zip(*boxes, strict=True)
        )
        return slow_iou(a, b, offset)
    return min(slow_iou(a, b, offset) for a, b in boxes)


def slow_ranking(pairs: PairAnswers) -> list[Row]:
    """All triplets of some pairs, sorted by descending score, then by pair, then by rank.

    The ranks of a pair go by descending probability, then by predicate.
    """
    keyed = []
    for i, (subject, object, pair_score, probs) in enumerate(
        zip(
            pairs.subject.tolist(),
            pairs.object.tolist(),
            pairs.score.tolist(),
            pairs.predicate_probs.tolist(),
            strict=True,
        )
    ):
        by_rank = sorted(range(len(probs)), key=lambda p: (-probs[p], p))
        for rank, predicate in enumerate(by_rank, start=1):
            score = pair_score * probs[predicate]
            keyed.append(((-score, i, rank), (subject, object, predicate, score, rank)))
    return [row for _, row in sorted(keyed)]


def slow_top(rows: list[Row], predicates_per_pair: int, length: int) -> list[Row]:
    return [row for row in rows if row[4] <= predicates_per_pair][:length]


def slow_hits(image: RankedImage, listed: list[Row], phrase: bool) -> list[list[bool]]:
    """For every listed triplet, whether it hits each annotated relationship; it may hit several."""
    hits = []
    for row in listed:
        overlaps = [
            slow_overlap(image.predicted, row, image.truth, relation, phrase, 1.0)
            for relation in image.truth.relations.tolist()
        ]
        hits.append([overlap is not None and overlap >= 0.5 for overlap in overlaps])
    return hits


def slow_hit(image: RankedImage, listed: list[Row], phrase: bool) -> list[bool]:
    """Which annotated relationships some listed triplet hits."""
    return slow_found(image, slow_hits(image, listed, phrase))


def slow_found(image: RankedImage, hits: list[list[bool]]) -> list[bool]:
    return [any(row[i] for row in hits) for i in range(len(image.truth.relations))]


def slow_taken(image: RankedImage, listed: list[Row], phrase: bool) -> list[bool]:
    """Which annotated relationships the triplets take: each takes the free one with the best overlap."""
    relations = image.truth.relations.tolist()
    taken = [False] * len(relations)
    for row in listed:
        best, best_overlap = None, 0.0
        for i, relation in enumerate(relations):
            overlap = slow_overlap(image.predicted, row, image.truth, relation, phrase, 1.0)
            if not taken[i] and overlap is not None and overlap >= 0.5 and overlap > best_overlap:
                best, best_overlap = i, overlap
        if best is not None:
            taken[best] = True
    return taken


def slow_precision(truths: Sequence[GroundTruthGraph], correct: Sequence[int], at: int) -> float:
    """Mean over the images with a relationship of the correct triplets among the first ones / K."""
    shares = [count / at for truth, count in zip(truths, correct, strict=True) if len(truth.relations)]
    return 100 * sum(shares) / len(shares) if shares else math.nan


def defined(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def slow_micro(found: Found) -> float:
    every = [hit for image in found for hit in image]
    return 100 * sum(every) / len(every) if every else math.nan


def slow_macro(found: Found) -> float:
    shares = [sum(image) / len(image) for image in found if image]
    return 100 * sum(shares) / len(shares) if shares else math.nan


def slow_unseen(truths: Sequence[GroundTruthGraph], found: Found, training: Sequence[Labels]) -> Found:
    """The part of `found` for the relationships whose labels never occur in training."""
    left: Found = []
    for truth, image in zip(truths, found, strict=True):
        labels = [(int(truth.classes[s]), int(truth.classes[o]), p) for s, o, p in truth.relations.tolist()]
        left.append([hit for hit, label in zip(image, labels, strict=True) if label not in training])
    return left


def slow_predicate_recalls(
    truths: Sequence[GroundTruthGraph], found: Found, num_predicates: int, pooled: bool
) -> list[float]:
    """Recall of each predicate, NaN if it is not annotated.

    It is computed over the split, or averaged over the images that have the predicate.
    """
    recalls = []
    for predicate in range(num_predicates):
        only = [
            [hit for hit, p in zip(image, truth.relations[:, 2].tolist(), strict=True) if p == predicate]
            for truth, image in zip(truths, found, strict=True)
        ]
        recalls.append(slow_micro(only) if pooled else slow_macro(only))
    return recalls


def slow_groups(training: Sequence[Labels], num_predicates: int) -> dict[str, list[int]]:
    """A third of the predicates, half of the others (both rounded down), the rest; frequent ones first."""
    counts = [sum(labels[2] == p for labels in training) for p in range(num_predicates)]
    order = sorted(range(num_predicates), key=lambda p: (-counts[p], p))
    head = num_predicates // 3
    body = (num_predicates - head) // 2
    return {"head": order[:head], "body": order[head : head + body], "tail": order[head + body :]}


def slow_mean(recalls: Sequence[float], over_all: bool = False) -> float:
    annotated = [recall for recall in recalls if not math.isnan(recall)]
    divisor = len(recalls) if over_all else len(annotated)
    return sum(annotated) / divisor if annotated else math.nan


def slow_recalls(
    truths: Sequence[GroundTruthGraph],
    prefix: str,
    at: int,
    found: Found,
    *,
    average: str,
    training: Sequence[Labels] | None,
) -> dict[str, float]:
    """The recalls in one list at one K."""
    plain, other = (slow_macro, slow_micro) if average == "macro" else (slow_micro, slow_macro)
    other_name = "micro_" if average == "macro" else "macro_"
    metrics = {f"{prefix}R@{at}": plain(found), f"{other_name}{prefix}R@{at}": other(found)}
    if training is not None:
        unseen = slow_unseen(truths, found, training)
        metrics |= {f"{prefix}zR@{at}": plain(unseen), f"{other_name}{prefix}zR@{at}": other(unseen)}
    return metrics


def slow_mean_recalls(
    truths: Sequence[GroundTruthGraph],
    prefix: str,
    at: int,
    found: Found,
    *,
    num_predicates: int,
    training: Sequence[Labels] | None,
    forms: Sequence[str] = ("", "pooled_"),
) -> dict[str, float]:
    """The recalls averaged over predicates, in one list at one K."""
    metrics = {}
    for form in forms:
        recalls = slow_predicate_recalls(truths, found, num_predicates, pooled=form == "pooled_")
        metrics[f"{form}{prefix}mR@{at}"] = slow_mean(recalls)
        metrics[f"{form}{prefix}mR_all@{at}"] = slow_mean(recalls, over_all=True)
        if training is not None:
            for group, members in slow_groups(training, num_predicates).items():
                metrics[f"{form}{prefix}mR_{group}@{at}"] = slow_mean([recalls[p] for p in members])
    return metrics


def slow_f(metrics: dict[str, float], prefix: str, at: int) -> dict[str, float]:
    """The harmonic mean of recall and of mean recall over all predicates."""
    recall, mean_recall = metrics[f"{prefix}R@{at}"], metrics[f"{prefix}mR_all@{at}"]
    if not recall or not mean_recall:
        return {f"{prefix}F@{at}": 0.0}
    return {f"{prefix}F@{at}": 1 / ((1 / recall + 1 / mean_recall) / 2)}


def slow_motifs(
    images: Sequence[RankedImage],
    num_predicates: int,
    training: Sequence[Labels] | None = None,
    recall_at: Sequence[int] = (20, 50, 100),
) -> dict[str, float]:
    truths = [image.truth for image in images]
    metrics: dict[str, float] = {}
    for prefix, k in (("", 1), ("ng", ALL)):
        for at in recall_at:
            hits = [slow_hits(image, slow_top(image.rows, k, at), phrase=False) for image in images]
            found = [slow_found(image, rows) for image, rows in zip(images, hits, strict=True)]
            correct = [sum(map(any, rows)) for rows in hits]
            metrics |= slow_recalls(truths, prefix, at, found, average="macro", training=training)
            metrics |= slow_mean_recalls(
                truths, prefix, at, found, num_predicates=num_predicates, training=training
            )
            metrics |= slow_f(metrics, prefix, at)
            metrics[f"{prefix}P@{at}"] = slow_precision(truths, correct, at)
    return defined(metrics)


def slow_reldn(
    images: Sequence[RankedImage],
    ks: Sequence[int],
    num_predicates: int,
    training: Sequence[Labels] | None = None,
    recall_at: Sequence[int] = (20, 50, 100),
) -> dict[str, float]:
    truths = [image.truth for image in images]
    metrics: dict[str, float] = {}
    for kind in ("rel", "phr"):
        phrase = kind == "phr"
        for k in ks:
            for at in recall_at:
                hits = [slow_hits(image, slow_top(image.rows, k, at), phrase) for image in images]
                found = [slow_found(image, rows) for image, rows in zip(images, hits, strict=True)]
                correct = [sum(map(any, rows)) for rows in hits]
                prefix = f"{kind}_k{k}_"
                metrics |= slow_recalls(truths, prefix, at, found, average="micro", training=training)
                metrics[f"{prefix}P@{at}"] = slow_precision(truths, correct, at)
                if k in (min(ks), max(ks)):
                    metrics |= slow_mean_recalls(
                        truths,
                        prefix,
                        at,
                        found,
                        num_predicates=num_predicates,
                        training=training,
                        forms=("pooled_",),
                    )
    return defined(metrics)


def slow_vrd2016(
    images: Sequence[RankedImage],
    num_predicates: int,
    training: Sequence[Labels] | None = None,
    recall_at: Sequence[int] = (50, 100),
) -> dict[str, float]:
    truths = [image.truth for image in images]
    metrics: dict[str, float] = {}
    for prefix in ("", "phr_"):
        phrase = prefix == "phr_"
        for at in recall_at:
            found = [slow_taken(image, slow_top(image.rows, ALL, at), phrase) for image in images]
            metrics |= slow_recalls(truths, prefix, at, found, average="micro", training=training)
            metrics[f"{prefix}P@{at}"] = slow_precision(truths, [sum(x) for x in found], at)
            metrics |= slow_mean_recalls(
                truths,
                prefix,
                at,
                found,
                num_predicates=num_predicates,
                training=training,
                forms=("pooled_",),
            )
    return defined(metrics)
