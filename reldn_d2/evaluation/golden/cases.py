"""Reads the golden cases.

The JSON files beside this module need nothing of this package: `schema.json` describes their fields, and
`docs/golden.md` shows how another project reads them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graphs import GroundTruthGraph, PairAnswers, PredictedGraph, RankedTriplets, Task, TripletAnswers
from ..protocols.protocol import EvaluatedSplit
from ..training_split import TrainingSplit, training_split

_SCHEMA = "schema.json"
_TYPES = {"i": np.int64, "f": np.float64, "?": np.bool_}


@dataclass(frozen=True)
class GoldenCase:
    """A small split with its annotation, a prediction for it, and the numbers worked out by hand.

    Attributes:
        name: name of the case and, with ".json", of its file.
        purpose: the rule that the case is about.
        protocol, settings: name and settings of the protocol, as `make_protocols` takes them.
        task: "sgdet", "sgcls" or "prdcls".
        classes: C names.
        truths, predictions: image id -> annotation, prediction.
        split: names of the predicates, and the training split if the case has one.
        arithmetic: lines of text that work the numbers out.
        expected: metric -> share in [0, 1]; the metric in percent is 100 times the share.
        absent: metrics that are not defined here: no evaluator may have them.
        official: the official tool, and whether it was run on the case. See `docs/golden.md`.
    """

    name: str
    purpose: str
    protocol: str
    settings: Mapping[str, Any]
    task: Task
    classes: tuple[str, ...]
    truths: Mapping[str, GroundTruthGraph]
    predictions: Mapping[str, PredictedGraph]
    split: EvaluatedSplit
    arithmetic: tuple[str, ...]
    expected: Mapping[str, Fraction]
    absent: tuple[str, ...]
    official: Mapping[str, Any]

    def differences(self, metrics: Mapping[str, float], tolerance: float = 1e-9) -> list[str]:
        """Compare the numbers of an evaluator with those of the case.

        Args:
            metrics: metric -> percent. Metrics that the case does not name are not compared; NaN counts as
                a metric that does not exist.
            tolerance: largest difference in percent points that counts as equal.

        Returns:
            One line for each metric that is missing, differs, or should not exist.
        """
        found = {name: value for name, value in metrics.items() if not isnan(value)}
        lines = []
        for name, share in self.expected.items():
            if name not in found:
                lines.append(f"{self.name}: {name} is missing, expected 100 x {share}")
            elif abs(found[name] - float(100 * share)) > tolerance:
                lines.append(f"{self.name}: {name} is {found[name]}, expected 100 x {share}")
        lines += [f"{self.name}: {name} should not exist" for name in self.absent if name in found]
        return lines


def golden_cases() -> Iterator[GoldenCase]:
    """Read all golden cases, sorted by name.

    Example:
        >>> from reldn_d2.evaluation import evaluate_graphs, golden_cases, make_protocols
        >>> for case in golden_cases():
        ...     protocols = make_protocols([case.protocol], **case.settings)
        ...     results = evaluate_graphs(case.truths, case.predictions, case.task, protocols, case.split)
        ...     for line in case.differences(results[case.protocol].metrics):
        ...         print(line)
    """
    names = [path.name for path in resources.files(__package__).iterdir() if path.name.endswith(".json")]
    for name in sorted(set(names) - {_SCHEMA}):
        yield _parse(json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8")))


def _parse(case: Mapping[str, Any]) -> GoldenCase:
    training = None
    if "training" in case:
        training = _training(case["training"], len(case["classes"]), len(case["predicates"]))
    return GoldenCase(
        name=case["name"],
        purpose=case["purpose"],
        protocol=case["protocol"],
        settings=case["settings"],
        task=case["task"],
        classes=tuple(case["classes"]),
        truths={image["id"]: _truth(image["truth"]) for image in case["images"]},
        predictions={image["id"]: _prediction(image["prediction"]) for image in case["images"]},
        split=EvaluatedSplit(case["predicates"], training),
        arithmetic=tuple(case["arithmetic"]),
        expected={name: Fraction(share) for name, share in case["expected"].items()},
        absent=tuple(case["absent"]),
        official=case["official"],
    )


def _training(labels: Sequence[Sequence[int]], num_classes: int, num_predicates: int) -> TrainingSplit:
    """The training split whose relationships have these labels.

    Args:
        labels: rows (subject class, object class, predicate).
        num_classes, num_predicates: sizes C and P of the vocabulary.
    """
    # Entity i has class i, so the labels are rows of relations.
    truth = GroundTruthGraph(
        np.zeros((num_classes, 4)), np.arange(num_classes), np.array(labels, dtype=np.int64)
    )
    return training_split([truth], num_classes, num_predicates)


def _truth(truth: Mapping[str, Any]) -> GroundTruthGraph:
    return GroundTruthGraph(
        np.array(truth["boxes"], dtype=np.float64).reshape(-1, 4),
        np.array(truth["classes"], dtype=np.int64),
        np.array(truth["relations"], dtype=np.int64).reshape(-1, 3),
        np.array(truth.get("verified_classes", []), dtype=np.int64),
    )


def _prediction(prediction: Mapping[str, Any]) -> PredictedGraph:
    pair_answers = triplet_answers = None
    if "pair_answers" in prediction:
        pair_answers = PairAnswers(*_columns(prediction["pair_answers"], "iiff"))
    if "triplet_answers" in prediction:
        triplet_answers = TripletAnswers(*_columns(prediction["triplet_answers"], "iiif?"))
    return PredictedGraph(
        np.array(prediction["boxes"], dtype=np.float64).reshape(-1, 4),
        np.array(prediction["classes"], dtype=np.int64),
        np.array(prediction["scores"], dtype=np.float64),
        RankedTriplets(*_columns(prediction["triplets"], "iiifi")),
        pair_answers,
        triplet_answers,
    )


def _columns(rows: Sequence[Sequence[Any]], types: str) -> list[npt.NDArray[Any]]:
    """The columns of a table, also of one without rows.

    Args:
        rows: the rows of the table.
        types: one letter for each column, see `_TYPES`.
    """
    return [np.array([row[i] for row in rows], dtype=_TYPES[letter]) for i, letter in enumerate(types)]
