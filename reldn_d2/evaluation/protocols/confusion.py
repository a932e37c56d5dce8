"""The protocol of confused instances and confused neighbours, the errors that the contrastive losses aim at.

The parts of this file are the cases of an image, the triplets that the model is asked about, the outcome of
each case, the protocol, and the frequency of cases in a data set.
`docs/evaluation.md` explains the definitions with pictures. Shape letters besides those of `graphs`:

    D  distinct annotated relationships between two entities
    W  wrong triplets
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Queries

from ..graphs import TASKS, BoolArray, FloatArray, GroundTruthGraph, IntArray, Task, TripletAnswers
from ..matching import box_iou, enclosing_boxes
from ..metrics import PerImageRecall, micro_recall, share_per_predicate
from ..rows import find_rows
from .protocol import LIST_LENGTH, EvaluatedSplit, ProtocolResult, ScoredImage

SAME_ENTITY_IOU = 0.5
# Kind -> its three metrics, in the order of the columns of `outcomes`.
_METRICS = {
    "instance": ("entity_instance_right", "entity_instance_confusion_rate", "entity_instance_missed"),
    "proximity": ("proximal_right", "proximal_ambiguity_rate", "proximal_missed"),
}
_CHANCE = {"instance": "entity_instance_chance", "proximity": "proximal_chance"}
_MISSED = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class ConfusableCases:
    """Annotated relationships that can be confused, and the wrong triplets that each competes with.

    Attributes:
        right: (D, 3) int rows (subject, object, predicate); no row is repeated.
        case: (W,) int, in ascending order; the row of `right` that a wrong triplet competes with. Every row
            of `right` has at least one wrong triplet.
        wrong: (W, 3) int rows (subject, object, predicate).
    """

    right: IntArray
    case: IntArray
    wrong: IntArray


def instance_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Find the relationships (s, p, o) with another entity of the class of s or of o.

    The wrong triplets are (s, p, o') for all other entities o' of the class of o, and (s', p, o) for all
    other entities s' of the class of s, except those that `_competing` drops.
    """
    relations = _distinct_relations(truth)
    same_class = truth.classes[:, None] == truth.classes
    wrong, case = [], []
    for column in (0, 1):  # subject, object
        row, other = np.nonzero(same_class[relations[:, column]])
        triplet = relations[row]
        triplet[:, column] = other
        case.append(row)
        wrong.append(triplet)
    return _competing(truth, relations, np.concatenate(case), np.concatenate(wrong))


def proximity_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Find the relationships (s, p, o) with a neighbour (s2, p, o2) of the same predicate.

    Neighbours have no entity in common, and their enclosing boxes share area. The wrong triplets are the
    crossed ones, (s, p, o2) and (s2, p, o), except those that `_competing` drops.
    """
    relations = _distinct_relations(truth)
    subject, object, predicate = relations.T
    boxes = enclosing_boxes(truth.boxes[subject], truth.boxes[object])
    shared = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) > np.maximum(boxes[:, None, :2], boxes[:, :2])
    # "a behind b" and "b behind c" are a chain: "a behind c" is often true and rarely annotated. Two
    # relationships with the same subject or the same object need no rule: their crossed triplets are the two
    # relationships themselves.
    chained = _same_entity(truth)[subject][:, object]
    neighbours = shared.all(axis=2) & (predicate[:, None] == predicate) & ~chained & ~chained.T
    row, other = np.nonzero(neighbours)
    crossed = (
        np.stack([subject[row], object[other], predicate[row]], axis=1),
        np.stack([subject[other], object[row], predicate[row]], axis=1),
    )
    return _competing(truth, relations, np.concatenate([row, row]), np.concatenate(crossed))


KINDS = {"instance": instance_cases, "proximity": proximity_cases}


def _same_entity(truth: GroundTruthGraph) -> BoolArray:
    """(G, G) bool, whether two annotated entities count as one entity.

    These are entities of one class whose boxes have an IoU of at least `SAME_ENTITY_IOU`. Other protocols
    can't tell them apart either, and people often annotate one thing twice.
    """
    overlap = box_iou(truth.boxes[:, None], truth.boxes, 0.0) >= SAME_ENTITY_IOU
    same: BoolArray = (truth.classes[:, None] == truth.classes) & overlap
    return same | np.eye(len(same), dtype=np.bool_)


def _distinct_relations(truth: GroundTruthGraph) -> IntArray:
    """(D, 3) annotated relationships between two different entities, sorted and without repeats."""
    relations = np.unique(truth.relations, axis=0).reshape(-1, 3)
    between_two: IntArray = relations[~_same_entity(truth)[relations[:, 0], relations[:, 1]]]
    return between_two


def _competing(
    truth: GroundTruthGraph, relations: IntArray, case: IntArray, wrong: IntArray
) -> ConfusableCases:
    """Keep the candidates that are wrong, and the relationships that have a wrong candidate.

    A candidate is not wrong if it has the same entities, in the sense of `_same_entity`, as an annotated
    relationship of its predicate, or if its subject and object are the same entity.

    Args:
        truth: annotation of the image.
        relations: (M, 3) relationships that may become cases.
        case: (candidates,) row of `relations` that each candidate belongs to.
        wrong: (candidates, 3) candidates; rows may be repeated.
    """
    same = _same_entity(truth)
    subject, object, predicate = truth.relations.T
    annotated = same[wrong[:, 0]][:, subject] & same[wrong[:, 1]][:, object]
    annotated &= wrong[:, 2:] == predicate
    competes = ~annotated.any(axis=1) & ~same[wrong[:, 0], wrong[:, 1]]
    rows = np.unique(np.concatenate([case[competes, None], wrong[competes]], axis=1), axis=0).reshape(-1, 4)
    kept, renumbered = np.unique(rows[:, 0], return_inverse=True)
    return ConfusableCases(relations[kept], renumbered, rows[:, 1:])


def is_confusable(truth: GroundTruthGraph) -> bool:
    """Whether the image has a case of either kind. Such images are the confusion subset."""
    return any(len(cases(truth).right) for cases in KINDS.values())


def confusion_triplets(truth: GroundTruthGraph) -> npt.NDArray[np.int64]:
    """(Q, 3) rows (subject, object, predicate): all triplets of an image's cases, sorted and without repeats.

    The model is asked for their scores, because few of them are in its ranked list.
    """
    found = [cases(truth) for cases in KINDS.values()]
    rows = np.concatenate([part for cases in found for part in (cases.right, cases.wrong)])
    return np.unique(rows, axis=0).reshape(-1, 3).astype(np.int64)


def outcomes(cases: ConfusableCases, answers: TripletAnswers) -> npt.NDArray[np.float64]:
    """Compute the outcome of each case: the shares of it that are right, confused and missed.

    A case is missed if the subject or the object of the right triplet was not detected. Else it is right if
    the right triplet scores above every wrong one, confused if a wrong one scores above it, and half right
    and half confused if the best wrong one has the same score. A triplet that was not detected scores 0: it
    can't be predicted. A triplet that the model never considers scores 0, too.

    Args:
        cases: D cases.
        answers: scores, not negative, of at least the triplets of the cases.

    Returns:
        (D, 3); every row adds up to 1.

    Raises:
        ValueError: if there is no answer about a triplet of the cases.
    """
    answered = np.stack([answers.subject, answers.object, answers.predicate], axis=1)
    try:
        right, wrong = find_rows(answered, cases.right), find_rows(answered, cases.wrong)
    except ValueError as error:
        raise ValueError(
            f"the triplet answers lack a triplet of a case ({error}); answer all that `confusion_triplets` "
            "lists"
        ) from error
    score = np.where(answers.detected, answers.score, 0.0)
    best_wrong = np.zeros(len(right))
    np.maximum.at(best_wrong, cases.case, score[wrong])
    share_right = np.heaviside(score[right] - best_wrong, 0.5)
    shares = np.stack([share_right, 1 - share_right, np.zeros(len(right))], axis=1)
    return np.where(answers.detected[right, None], shares, _MISSED)


@dataclass(frozen=True)
class JudgedCases:
    """The cases of one kind in an image, and their outcomes.

    Attributes:
        predicate: (D,) int.
        shares: (D, 3), see `outcomes`.
        chance: (D,) probability that random scores get a case right.
    """

    predicate: IntArray
    shares: FloatArray
    chance: FloatArray


@dataclass(frozen=True)
class ConfusionProtocol:
    """Entity instance confusion and proximal ambiguity: shares of right, confused and missed cases.

    The shares are those of all cases of the split. See `EvaluationProtocol` for the attributes.
    """

    name: ClassVar[str] = "confusion"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    list_length: ClassVar[int] = LIST_LENGTH

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Accept any vocabulary."""

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        """The triplets of the image's cases."""
        return Queries.from_rows(triplets=confusion_triplets(truth))

    def match(self, image: ScoredImage, task: Task) -> dict[str, JudgedCases]:
        """Compute the outcomes of the cases of one image. Without answers, all cases are missed."""
        answers = image.predicted.triplet_answers
        judged = {}
        for kind, find_cases in KINDS.items():
            cases = find_cases(image.truth)
            wrong = np.bincount(cases.case)
            shares = np.tile(_MISSED, (len(cases.right), 1)) if answers is None else outcomes(cases, answers)
            judged[kind] = JudgedCases(cases.right[:, 2], shares, 1 / (1 + wrong))
        return judged

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[dict[str, JudgedCases]], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Compute the shares and the chance level over some images.

        They are NaN for a kind without a case.
        """
        result = ProtocolResult({}, {})
        for kind, names in _METRICS.items():
            judged = [record[kind] for record in records]
            cases = np.array([len(x.predicate) for x in judged], dtype=np.int64)
            hits = {name: np.array([x.shares[:, i].sum() for x in judged]) for i, name in enumerate(names)}
            result.per_image[f"{self.name}_{kind}"] = PerImageRecall(tuple(image_ids), cases, hits)
            result.metrics.update({name: micro_recall(hits[name], cases) for name in names})
            chance = np.array([x.chance.sum() for x in judged])
            result.metrics[_CHANCE[kind]] = micro_recall(chance, cases)
            images = np.count_nonzero(cases)
            result.notes.append(
                f"{cases.sum()} {kind} cases in {images} images. {_CHANCE[kind]}: share that random scores "
                "get right if everything is detected."
            )
            self._add_predicates(result, kind, judged, split)
        return result

    @staticmethod
    def _add_predicates(
        result: ProtocolResult, kind: str, judged: Sequence[JudgedCases], split: EvaluatedSplit
    ) -> None:
        predicate = np.concatenate([np.zeros(0, dtype=np.int64), *(x.predicate for x in judged)])
        shares = np.concatenate([np.zeros((0, 3)), *(x.shares for x in judged)])
        num_predicates = len(split.predicate_classes)
        result.per_predicate[f"{kind} cases"] = np.bincount(predicate, minlength=num_predicates)
        for i, name in enumerate(_METRICS[kind]):
            result.per_predicate[name] = share_per_predicate(shares[:, i], predicate, num_predicates)


@dataclass(frozen=True, eq=False)
class ConfusionFrequency:
    """Numbers of cases in the N images of a data set.

    Attributes:
        relationships: (N,) number of distinct annotated relationships of each image, including those of an
            entity with itself.
        cases: "instance" and "proximity" -> (N,) number of these relationships that are a case of the kind.
    """

    relationships: IntArray
    cases: Mapping[str, IntArray]

    @property
    def confusable_images(self) -> int:
        """Number of images with a case of either kind, which are the confusion subset."""
        return int(np.any([*self.cases.values()], axis=0).sum())


def confusion_frequency(truths: Iterable[GroundTruthGraph]) -> ConfusionFrequency:
    """Count the cases of protocol `confusion` in N images.

    Args:
        truths: annotation of each image, with indices in range and finite boxes.
    """
    relationships: list[int] = []
    cases: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for truth in truths:
        relationships.append(len(np.unique(truth.relations, axis=0)))
        for kind, cases_of in KINDS.items():
            cases[kind].append(len(cases_of(truth).right))
    return ConfusionFrequency(
        np.array(relationships, dtype=np.int64),
        {kind: np.array(counts, dtype=np.int64) for kind, counts in cases.items()},
    )
