"""Both OpenImages protocols in plain loops over dicts, from the definitions in docs/evaluation.md."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from reldn_d2.evaluation.graphs import GroundTruthGraph, PredictedGraph
from tests.references.evaluation import defined

Image = dict[str, Any]  # relationships and predictions (best first), each a list of dicts; verified classes
Answers = list[int | None]  # for every prediction, the relationship that it answers


def image_dict(truth: GroundTruthGraph, predicted: PredictedGraph) -> Image:
    def entity(graph: GroundTruthGraph | PredictedGraph, row: int) -> dict[str, Any]:
        return {"class": int(graph.classes[row]), "box": graph.boxes[row].tolist()}

    columns = vars(predicted.relations)
    predictions = []
    for i in range(len(predicted.relations)):
        row = {name: column[i].item() for name, column in columns.items()}
        row["subject"], row["object"] = entity(predicted, row["subject"]), entity(predicted, row["object"])
        predictions.append(row)
    relationships = [
        {"subject": entity(truth, s), "object": entity(truth, o), "predicate": p}
        for s, o, p in truth.relations.tolist()
    ]
    return {
        "relationships": relationships,
        "predictions": predictions,
        "verified": truth.verified_classes.tolist(),
    }


def slow_openimages(
    images: Sequence[Image],
    names: Sequence[str],
    excluded_predicates: Sequence[str] = (),
    predicates_per_pair: int = 2,
    list_length: int = 100,
) -> dict[str, float]:
    """All metrics of the official protocol."""
    lists = [
        [p for p in submitted(image, predicates_per_pair, list_length) if evaluable(image, p)]
        for image in images
    ]
    answers = {
        kind: [
            answered(image, listed, kind == "phr", 0.0, lambda overlap: overlap >= 0.5)
            for image, listed in zip(images, lists, strict=True)
        ]
        for kind in ("rel", "phr")
    }
    metrics = {}
    for prefix, kind in (("", "rel"), ("phr_", "phr")):
        for k in (50, 100):
            hits = [sum(answer is not None for answer in image[:k]) for image in answers[kind]]
            metrics |= recalls(f"{prefix}R@{k}", hits, images)
            metrics[f"{prefix}P@{k}"] = precision(hits, images, k)
            found = [
                [i in listed[:k] for i in range(len(image["relationships"]))]
                for image, listed in zip(images, answers[kind], strict=True)
            ]
            metrics |= mean_recalls(f"{prefix}mR", k, found, images, len(names))
    aps = {kind: average_precisions(images, lists, answers[kind], len(names)) for kind in answers}
    annotated = [i for i, ap in enumerate(aps["rel"]) if not math.isnan(ap)]
    for kind, ap in aps.items():
        metrics |= {f"AP_{kind}/{names[i]}": ap[i] for i in annotated}
    metrics |= means(aps, annotated, images, metrics["R@50"], "")
    if excluded_predicates:
        kept = [i for i in annotated if names[i] not in excluded_predicates]
        metrics |= means(aps, kept, images, metrics["R@50"], "_starred")
    return defined(metrics)


def slow_reldn_openimages(
    images: Sequence[Image], names: Sequence[str], excluded_predicates: Sequence[str] = ()
) -> dict[str, float]:
    """All metrics of the ablations' protocol."""
    lists = [[p for p in submitted(image, 2, 100) if p["score"] > 1e-5] for image in images]
    metrics = {}
    for k in (20, 50, 100):
        found, correct = [], []
        for image, listed in zip(images, lists, strict=True):
            hits = [
                [same_labels(p, r) and overlap(p, r, False, 1.0) >= 0.5 for r in image["relationships"]]
                for p in listed[:k]
            ]
            found.append([any(row[i] for row in hits) for i in range(len(image["relationships"]))])
            correct.append(sum(any(row) for row in hits))
        metrics |= recalls(f"R@{k}", [sum(x) for x in found], images)
        metrics[f"P@{k}"] = precision(correct, images, k)
        metrics |= mean_recalls("mR", k, found, images, len(names))
    aps = {}
    for kind in ("rel", "phr"):
        answers = [
            answered(image, listed, kind == "phr", 1.0, lambda overlap: overlap > 0.5)
            for image, listed in zip(images, lists, strict=True)
        ]
        ap = average_precisions(images, lists, answers, len(names))
        aps[kind] = [0.0 if math.isnan(value) else value for value in ap]
        metrics |= {f"AP_{kind}/{name}": value for name, value in zip(names, aps[kind], strict=True)}
    metrics |= means(aps, range(len(names)), images, metrics["R@50"], "")
    if excluded_predicates:
        kept = [i for i, name in enumerate(names) if name not in excluded_predicates]
        metrics |= means(aps, kept, images, metrics["R@50"], "_starred")
    return defined(metrics)


def submitted(image: Image, predicates_per_pair: int, list_length: int) -> list[dict[str, Any]]:
    return [p for p in image["predictions"] if p["rank_in_pair"] <= predicates_per_pair][:list_length]


def evaluable(image: Image, prediction: dict[str, Any]) -> bool:
    related = {r[end]["class"] for r in image["relationships"] for end in ("subject", "object")}
    classes = [prediction[end]["class"] for end in ("subject", "object")]
    for label in classes:
        if label in image["verified"] and label not in related:
            return True  # surely wrong
    return all(label in related or label in image["verified"] for label in classes)


def same_labels(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["predicate"] == b["predicate"] and all(
        a[end]["class"] == b[end]["class"] for end in ("subject", "object")
    )


def overlap(a: dict[str, Any], b: dict[str, Any], phrase: bool, offset: float) -> float:
    if phrase:
        return iou(around(a), around(b), offset)
    return min(iou(a[end]["box"], b[end]["box"], offset) for end in ("subject", "object"))


def around(triplet: dict[str, Any]) -> list[float]:
    s, o = triplet["subject"]["box"], triplet["object"]["box"]
    return [min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3])]


def iou(a: Sequence[float], b: Sequence[float], offset: float) -> float:
    def side(low: float, high: float) -> float:
        return max(0.0, high - low + offset)

    both = side(max(a[0], b[0]), min(a[2], b[2])) * side(max(a[1], b[1]), min(a[3], b[3]))
    areas = [side(box[0], box[2]) * side(box[1], box[3]) for box in (a, b)]
    return both / (sum(areas) - both) if sum(areas) else 0.0


def answered(
    image: Image,
    listed: Sequence[dict[str, Any]],
    phrase: bool,
    offset: float,
    enough: Callable[[float], bool],
) -> Answers:
    answers: Answers = []
    for prediction in listed:
        best, best_overlap = None, -1.0
        for i, relationship in enumerate(image["relationships"]):
            if same_labels(prediction, relationship):
                value = overlap(prediction, relationship, phrase, offset)
                if value > best_overlap:
                    best, best_overlap = i, value
        right = best is not None and enough(best_overlap) and best not in answers
        answers.append(best if right else None)
    return answers


def recalls(name: str, hits: Sequence[int], images: Sequence[Image]) -> dict[str, float]:
    totals = [len(image["relationships"]) for image in images]
    shares = [hit / total for hit, total in zip(hits, totals, strict=True) if total]
    return {
        name: 100 * sum(hits) / sum(totals) if shares else math.nan,
        f"macro_{name}": 100 * sum(shares) / len(shares) if shares else math.nan,
    }


def precision(correct: Sequence[int], images: Sequence[Image], k: int) -> float:
    counted = [c for c, image in zip(correct, images, strict=True) if image["relationships"]]
    return 100 * sum(counted) / (k * len(counted)) if counted else math.nan


def mean_recalls(
    name: str, k: int, found: Sequence[list[bool]], images: Sequence[Image], num_predicates: int
) -> dict[str, float]:
    """Means over predicates of the share of a predicate's relationships that are found."""
    shares = []
    for predicate in range(num_predicates):
        of_predicate = [
            hit
            for image, hits in zip(images, found, strict=True)
            for relationship, hit in zip(image["relationships"], hits, strict=True)
            if relationship["predicate"] == predicate
        ]
        if of_predicate:
            shares.append(100 * sum(of_predicate) / len(of_predicate))
    if not shares:
        return {}
    return {
        f"pooled_{name}@{k}": sum(shares) / len(shares),
        f"pooled_{name}_all@{k}": sum(shares) / num_predicates,
    }


def average_precisions(
    images: Sequence[Image], lists: Sequence[list], answers: Sequence[Answers], num_predicates: int
) -> list[float]:
    """Percent for each predicate; NaN where none of its relationships is annotated."""
    result = []
    for predicate in range(num_predicates):
        ranking = []
        for i, (listed, right) in enumerate(zip(lists, answers, strict=True)):
            for place, (prediction, answer) in enumerate(zip(listed, right, strict=True)):
                if prediction["predicate"] == predicate:
                    ranking.append((-prediction["score"], i, place, answer is not None))
        num_truths = count(images, predicate)
        ap = slow_average_precision([entry[3] for entry in sorted(ranking)], num_truths)
        result.append(100 * ap if num_truths else math.nan)
    return result


def slow_average_precision(true_positive: Sequence[bool], num_truths: int) -> float:
    """Mean over i = 1, 2, ... of the best precision at which i or more relationships are found."""
    best = [0.0] * num_truths
    found = 0
    for length, positive in enumerate(true_positive, start=1):
        found += positive
        for i in range(found):
            best[i] = max(best[i], found / length)
    return sum(best) / num_truths if num_truths else math.nan


def count(images: Sequence[Image], predicate: int) -> int:
    return sum(r["predicate"] == predicate for image in images for r in image["relationships"])


def means(
    aps: dict[str, list[float]],
    predicates: Sequence[int],
    images: Sequence[Image],
    recall_at_50: float,
    suffix: str,
) -> dict[str, float]:
    total = sum(count(images, i) for i in predicates)
    result = {}
    for kind, ap in aps.items():
        result[f"mAP_{kind}"] = sum(ap[i] for i in predicates) / len(predicates) if predicates else math.nan
        weighted = sum(ap[i] * count(images, i) for i in predicates)
        result[f"wmAP_{kind}"] = weighted / total if total else math.nan
    for name, mean in (("score", "mAP"), ("score_wtd", "wmAP")):
        result[name] = 0.2 * recall_at_50 + 0.4 * (result[f"{mean}_rel"] + result[f"{mean}_phr"])
    return {f"{name}{suffix}": value for name, value in result.items()}
