"""The numbers of the paper's OpenImages ablations: recall, mAP, wmAP and their weighted score."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .average_precision import average_precision_per_predicate
from .graphs import BoolArray, FloatArray, IntArray, Task
from .matching import find_matches, true_positives
from .protocols import LIST_LENGTH, ProtocolResult, RecallList, RecallProtocol, ScoredImage
from .ranking import top_triplets

_PREDICATES_PER_PAIR = 2
_MIN_SCORE = 1e-5
_RECALL = RecallProtocol(
    "reldn_openimages",
    (RecallList("", _PREDICATES_PER_PAIR),),
    average="micro",
    min_score=_MIN_SCORE,
    tasks=("SGDET",),
)


@dataclass
class _Detections:
    """Triplets of the images seen so far and whether they count as true, for relations and for phrases."""

    predicate: list[IntArray] = field(default_factory=list)
    score: list[FloatArray] = field(default_factory=list)
    relation: list[BoolArray] = field(default_factory=list)
    phrase: list[BoolArray] = field(default_factory=list)

    def add(self, image: ScoredImage, min_overlap: float, offset: float) -> None:
        triplets = top_triplets(image.predicted.relations, _PREDICATES_PER_PAIR, LIST_LENGTH)
        triplets = triplets.rows(triplets.score > _MIN_SCORE)
        self.predicate.append(triplets.predicate)
        self.score.append(triplets.score)
        for positives, phrase in ((self.relation, False), (self.phrase, True)):
            matches = find_matches(image.predicted, triplets, image.truth, phrase=phrase, offset=offset)
            positives.append(true_positives(matches, len(triplets), min_overlap))

    def average_precision(self, positives: list[BoolArray], num_truths: IntArray) -> npt.NDArray[np.float64]:
        """(P,) percent; 0 for a predicate without ground truth, as this protocol has it."""
        ap = average_precision_per_predicate(
            np.concatenate(self.predicate), np.concatenate(self.score), np.concatenate(positives), num_truths
        )
        return 100.0 * np.nan_to_num(ap, nan=0.0)


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
    needs_annotated_pairs: bool = False
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

    def score(
        self, images: Sequence[ScoredImage], task: Task, predicate_classes: Sequence[str]
    ) -> ProtocolResult:
        """Score a split. `check_vocabulary` must have accepted the predicates."""
        kept = np.flatnonzero([name not in self.left_out for name in predicate_classes])
        num_truths = np.zeros(len(predicate_classes), dtype=np.int64)
        detections = _Detections()
        for image in images:
            num_truths += np.bincount(image.truth.relations[:, 2], minlength=len(num_truths))
            detections.add(image, self.min_overlap, _RECALL.offset)
        recall = _RECALL.score(images, task, predicate_classes)
        ap = {
            "rel": detections.average_precision(detections.relation, num_truths),
            "phr": detections.average_precision(detections.phrase, num_truths),
        }
        metrics = recall.metrics | summarise(ap, num_truths, recall.metrics["R@50"])
        if self.left_out:
            starred = {kind: values[kept] for kind, values in ap.items()}
            summary = summarise(starred, num_truths[kept], recall.metrics["R@50"])
            metrics |= {f"{name}_starred": value for name, value in summary.items()}
        for kind, values in ap.items():
            for name, value in zip(predicate_classes, values, strict=True):
                metrics[f"AP_{kind}/{name}"] = float(value)
        return ProtocolResult(metrics, recall.per_image)


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
