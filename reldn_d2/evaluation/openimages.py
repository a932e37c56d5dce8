"""The numbers of the paper's OpenImages ablations: recall, mAP, wmAP and their weighted score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .average_precision import average_precision_per_predicate
from .graphs import BoolArray, FloatArray, IntArray, Task
from .matching import find_matches, true_positives
from .protocol import LIST_LENGTH, EvaluatedSplit, Need, ProtocolResult, ScoredImage
from .ranking import top_triplets
from .recall_protocol import FoundRelationships, RecallList, RecallProtocol

_PREDICATES_PER_PAIR = 2
_MIN_SCORE = 1e-5
_RECALL = RecallProtocol(
    "reldn_openimages",
    (RecallList("", _PREDICATES_PER_PAIR),),
    average="micro",
    min_score=_MIN_SCORE,
    tasks=("SGDET",),
)


@dataclass(frozen=True)
class JudgedTriplets:
    """The triplets of an image that average precision counts, best first, and which of them are true.

    Attributes:
        predicate: (T,) int.
        score: (T,) float.
        true: "rel" and "phr" -> (T,) bool, true positives as relations and as phrases.
        found: for recall.
    """

    predicate: IntArray
    score: FloatArray
    true: dict[str, BoolArray]
    found: FoundRelationships


@dataclass(frozen=True)
class OpenImagesAblationProtocol:
    """Recall, average precision and score as in the paper's OpenImages ablations; SGDET only.

    The list holds the best 100 triplets of each image with at most two predicates a pair, then those scoring
    above 1e-5. Recall counts an overlap of at least 0.5 and lets a triplet hit several relationships; average
    precision wants more than 0.5 and matches one to one.

    Attributes:
        left_out: predicates that the "starred" numbers leave out; without any there are no starred numbers.
        min_overlap: of average precision, exclusive.
    """

    left_out: tuple[str, ...] = ()
    min_overlap: float = 0.5
    name: str = _RECALL.name
    tasks: tuple[Task, ...] = _RECALL.tasks
    needs: frozenset[Need] = frozenset()
    list_length: int = LIST_LENGTH

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Raise ValueError if `left_out` names a predicate that the data set lacks, or all that it has."""
        unknown = sorted(set(self.left_out) - set(predicate_classes))
        if unknown:
            raise ValueError(
                f"protocol {self.name} is to leave out {unknown}, which the data set does not have; "
                f"its predicates are {list(predicate_classes)}"
            )
        if set(predicate_classes) <= set(self.left_out):
            raise ValueError(f"protocol {self.name} is to leave out every predicate of the data set")

    def match(self, image: ScoredImage, task: Task) -> JudgedTriplets:
        """Judge the image's list."""
        triplets = top_triplets(image.predicted.relations, _PREDICATES_PER_PAIR, LIST_LENGTH)
        triplets = triplets.rows(triplets.score > _MIN_SCORE)
        true = {}
        for kind in ("rel", "phr"):
            matches = find_matches(
                image.predicted, triplets, image.truth, phrase=kind == "phr", offset=_RECALL.offset
            )
            true[kind] = true_positives(matches, len(triplets), self.min_overlap, strict=True)
        return JudgedTriplets(triplets.predicate, triplets.score, true, _RECALL.match(image, task))

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[JudgedTriplets], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Numbers of some images. `check_vocabulary` must have accepted the predicates."""
        names = split.predicate_classes
        kept = np.flatnonzero([name not in self.left_out for name in names])
        found = [record.found for record in records]
        num_truths = np.bincount(np.concatenate([x.predicate for x in found]), minlength=len(names))
        recall = _RECALL.summarise(image_ids, found, split)
        ap = {kind: self._average_precision(records, kind, num_truths) for kind in ("rel", "phr")}
        metrics = recall.metrics | summarise(ap, num_truths, recall.metrics["R@50"])
        if self.left_out:
            starred = {kind: values[kept] for kind, values in ap.items()}
            summary = summarise(starred, num_truths[kept], recall.metrics["R@50"])
            metrics |= {f"{name}_starred": value for name, value in summary.items()}
        for kind, values in ap.items():
            for name, value in zip(names, values, strict=True):
                metrics[f"AP_{kind}/{name}"] = float(value)
        return ProtocolResult(metrics, recall.per_image)

    @staticmethod
    def _average_precision(
        records: Sequence[JudgedTriplets], kind: str, num_truths: IntArray
    ) -> npt.NDArray[np.float64]:
        """(P,) percent; 0 for a predicate without ground truth, as this protocol has it."""
        ap = average_precision_per_predicate(
            np.concatenate([record.predicate for record in records]),
            np.concatenate([record.score for record in records]),
            np.concatenate([record.true[kind] for record in records]),
            num_truths,
        )
        return 100.0 * np.nan_to_num(ap, nan=0.0)


def summarise(
    average_precision: dict[str, npt.NDArray[np.float64]], num_truths: IntArray, recall_at_50: float
) -> dict[str, float]:
    """Means and scores of a set of predicates.

    mAP divides by the number of predicates, with or without ground truth; wmAP weights every predicate by its
    share of the annotated relationships; score = 0.2 R@50 + 0.4 mAP_rel + 0.4 mAP_phr, and score_wtd the same
    of wmAP.

    Args:
        average_precision: "rel" and "phr" -> (P,) percent.
        num_truths: (P,) annotated relationships; where there are none at all wmAP is NaN.
        recall_at_50: percent.
    """
    total = num_truths.sum()
    metrics = {}
    for kind, values in average_precision.items():
        metrics[f"mAP_{kind}"] = float(values.mean())
    for kind, values in average_precision.items():
        metrics[f"wmAP_{kind}"] = float(values @ num_truths / total) if total else float("nan")
    for name, mean in (("score", "mAP"), ("score_wtd", "wmAP")):
        metrics[name] = 0.2 * recall_at_50 + 0.4 * metrics[f"{mean}_rel"] + 0.4 * metrics[f"{mean}_phr"]
    return metrics


def reldn_openimages(left_out: Sequence[str] = ()) -> OpenImagesAblationProtocol:
    """The protocol, with the predicates that its starred numbers leave out."""
    return OpenImagesAblationProtocol(tuple(left_out))
