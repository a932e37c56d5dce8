"""The two errors that the contrastive losses are made against, measured: confused instances and confused neighbours.

`docs/evaluation.md` explains the definitions with pictures. Shape letters besides those of `graphs`:

    D  distinct annotated relationships between two entities
    W  wrong triplets
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, NamedTriplets, Task
from ..matching import box_iou, enclosing_boxes
from ..metrics import PerImageRecall, micro_recall, share_per_predicate
from .protocol import LIST_LENGTH, TASKS, EvaluatedSplit, Need, ProtocolResult, ScoredImage

SAME_ENTITY_IOU = 0.5
# Of each kind the three outcomes, in the order of `outcomes`.
_METRICS = {
    "instance": ("entity_instance_right", "entity_instance_confusion_rate", "entity_instance_missed"),
    "proximity": ("proximal_right", "proximal_ambiguity_rate", "proximal_missed"),
}
_CHANCE = {"instance": "entity_instance_chance", "proximity": "proximal_chance"}
_MISSED = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class ConfusableCases:
    """Annotated relationships that can be confused, and the wrong triplets each competes with.

    Attributes:
        right: (D, 3) int rows (subject, object, predicate), no row twice.
        case: (W,) int, never falling; the row of `right` that a wrong triplet competes with.
        wrong: (W, 3) int rows (subject, object, predicate). Every row of `right` has one at least.
    """

    right: IntArray
    case: IntArray
    wrong: IntArray


def instance_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Relationships (s, p, o) with another entity that could be mistaken for one of the ends.

    Wrong triplets are (s, p, o') for all other entities o' of the class of o, and (s', p, o) for all other
    entities s' of the class of s; see `_competing` for what is left out.
    """
    relations = _distinct_relations(truth)
    same_class = truth.classes[:, None] == truth.classes
    ends = relations[:, :2].T
    wrong, case = [], []
    for end, entity in enumerate(ends):
        row, other = np.nonzero(same_class[entity])
        triplet = relations[row]
        triplet[:, end] = other
        case.append(row)
        wrong.append(triplet)
    return _competing(truth, relations, np.concatenate(case), np.concatenate(wrong))


def proximity_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Relationships (s, p, o) with a neighbour (s2, p, o2) of the same predicate: which goes with which?

    Neighbours have no end in common, and their enclosing boxes share area. The wrong triplets are the crossed ones,
    (s, p, o2) and (s2, p, o); see `_competing` for what is left out.
    """
    relations = _distinct_relations(truth)
    subject, object, predicate = relations.T
    boxes = enclosing_boxes(truth.boxes[subject], truth.boxes[object])
    shared = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) > np.maximum(boxes[:, None, :2], boxes[:, :2])
    # "a behind b" and "b behind c" are a chain: "a behind c" is often true and seldom annotated. (Two that share their
    # subject or their object need no rule: crossed, they give each other.)
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
    """(G, G) which annotated entities count as one: those of one class whose boxes have an IoU of `SAME_ENTITY_IOU`
    or more. Other protocols could not tell them apart either, and people often annotate one thing twice."""
    overlap = box_iou(truth.boxes[:, None], truth.boxes, 0.0) >= SAME_ENTITY_IOU
    same: BoolArray = (truth.classes[:, None] == truth.classes) & overlap
    return same | np.eye(len(same), dtype=np.bool_)


def _distinct_relations(truth: GroundTruthGraph) -> IntArray:
    """(D, 3) annotated relationships between two entities, each once, sorted."""
    relations = np.unique(truth.relations, axis=0).reshape(-1, 3)
    between_two: IntArray = relations[~_same_entity(truth)[relations[:, 0], relations[:, 1]]]
    return between_two


def _competing(
    truth: GroundTruthGraph, relations: IntArray, case: IntArray, wrong: IntArray
) -> ConfusableCases:
    """Leave out candidates that are no relationship or a right one, and relationships without a competitor.

    A candidate is right if it joins the same entities, in the sense of `_same_entity`, as an annotated relationship of
    its predicate. It is none if it joins an entity with itself.
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
    """Whether the image has a case of either kind, that is, belongs to the confusion subset."""
    return any(len(cases(truth).right) for cases in KINDS.values())


def named_triplets(truth: GroundTruthGraph) -> npt.NDArray[np.int64]:
    """(Q, 3) int rows (subject, object, predicate) of an image's cases, sorted, each once.

    These are the triplets whose scores the model has to be asked for: few of them are in a ranked list.
    """
    found = [cases(truth) for cases in KINDS.values()]
    rows = np.concatenate([part for cases in found for part in (cases.right, cases.wrong)])
    return np.unique(rows, axis=0).reshape(-1, 3).astype(np.int64)


def outcomes(cases: ConfusableCases, named: NamedTriplets) -> npt.NDArray[np.float64]:
    """How each case came out: the share of it that is right, confused and missed.

    A case is missed if the ends of the right triplet were not detected. Else it is right if the right triplet scores
    above every wrong one, confused if a wrong one scores above it, and half of each if the best wrong one scores the
    same. A triplet that was not detected can't be predicted: it scores 0, like one that the model never considers.

    Args:
        cases: D cases.
        named: scores, not negative, of at least the triplets of the cases.

    Returns:
        (D, 3); every row adds up to 1.

    Raises:
        ValueError: if a triplet of the cases was not named.
    """
    right = _rows_of(cases.right, named)
    score = np.where(named.detected, named.score, 0.0)
    best_wrong = np.zeros(len(right))
    np.maximum.at(best_wrong, cases.case, score[_rows_of(cases.wrong, named)])
    share_right = np.heaviside(score[right] - best_wrong, 0.5)
    shares = np.stack([share_right, 1 - share_right, np.zeros(len(right))], axis=1)
    return np.where(named.detected[right, None], shares, _MISSED)


def _rows_of(triplets: IntArray, named: NamedTriplets) -> IntArray:
    """Row of each of (K, 3) triplets in the named ones."""
    table = np.stack([named.subject, named.object, named.predicate], axis=1)
    shape = np.concatenate([table, triplets]).max(axis=0, initial=0) + 1
    keys, wanted = (np.ravel_multi_index(tuple(x.T), tuple(shape)) for x in (table, triplets))
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], wanted)
    if not np.isin(wanted, keys).all():
        raise ValueError("a case has a triplet that was not named; name those of `named_triplets`")
    rows: IntArray = order[place]
    return rows


@dataclass(frozen=True)
class JudgedCases:
    """The cases of one kind in an image.

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
    """Entity instance confusion and proximal ambiguity: which share of the cases is right, confused, missed.

    Shares are of all cases of the split. See `EvaluationProtocol` for the attributes.
    """

    name: str = "confusion"
    tasks: tuple[Task, ...] = TASKS
    needs: frozenset[Need] = frozenset({"named_triplets"})
    list_length: int = LIST_LENGTH

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Any vocabulary will do."""

    def match(self, image: ScoredImage, task: Task) -> dict[str, JudgedCases]:
        """Judge the cases of one image, kind by kind."""
        named = image.predicted.named
        judged = {}
        for kind, find_cases in KINDS.items():
            cases = find_cases(image.truth)
            wrong = np.bincount(cases.case)
            shares = np.tile(_MISSED, (len(cases.right), 1)) if named is None else outcomes(cases, named)
            judged[kind] = JudgedCases(cases.right[:, 2], shares, 1 / (1 + wrong))
        return judged

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[dict[str, JudgedCases]], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Shares of the cases of some images, and what chance would get right; NaN for a kind without a case."""
        result = ProtocolResult({}, {})
        for kind, names in _METRICS.items():
            judged = [record[kind] for record in records]
            cases = np.array([len(x.predicate) for x in judged], dtype=np.int64)
            hits = {name: np.array([x.shares[:, i].sum() for x in judged]) for i, name in enumerate(names)}
            result.per_image[f"{self.name}_{kind}"] = PerImageRecall(tuple(image_ids), cases, hits)
            result.metrics.update({name: micro_recall(hits[name], cases) for name in names})
            luck = np.array([x.chance.sum() for x in judged])
            result.metrics[_CHANCE[kind]] = micro_recall(luck, cases)
            images = np.count_nonzero(cases)
            result.notes.append(
                f"{cases.sum()} {kind} cases in {images} images. {_CHANCE[kind]}: what random scores get right if all "
                "are detected."
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
    """
    Attributes:
        relationships: (N,) distinct annotated relationships of each image, those of an entity with itself included.
        cases: "instance" and "proximity" -> (N,) how many of them are such a case.
    """

    relationships: IntArray
    cases: Mapping[str, IntArray]

    @property
    def confusable_images(self) -> int:
        """Images with a case of either kind: the confusion subset."""
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
