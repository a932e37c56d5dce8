"""The protocol of confused instances and confused neighbours, the errors that the contrastive losses aim at.

The parts of this file are the cases of an image, the triplets that the model is asked about, the outcome of
each case, the protocol, and the frequency of cases in a data set.
`docs/evaluation.md` explains the definitions with pictures. Shape letters besides those of `graphs`:

    D  distinct annotated relationships between two entities
    W  wrong triplets
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Queries

from ..columns import Columns, compact, image_of_rows, rows_per_image
from ..graphs import TASKS, BoolArray, FloatArray, GroundTruthGraph, IntArray, Task, TripletAnswers
from ..matching import box_iou, enclosing_boxes
from ..metrics import PerImageRecall, micro_recall, percent
from ..rows import find_rows
from .protocol import LIST_LENGTH, EvaluatedSplit, NumberFacts, ProtocolResult, ScoredImage

SAME_ENTITY_IOU = 0.5
# An image whose cases have more triplets is not scored: on a CPU a small model would need half a minute for
# it, a large one minutes. The largest image of VRD has 179.
MOST_TRIPLETS = 200_000
_CELLS = 2**18  # of a table of relationships and entities; larger tables are computed in parts
# Kind -> its three metrics, in the order of the columns of `outcomes`.
_METRICS = {
    "instance": ("entity_instance_right", "entity_instance_confusion_rate", "entity_instance_missed"),
    "proximity": ("proximal_right", "proximal_ambiguity_rate", "proximal_missed"),
}
_CHANCE = {"instance": "entity_instance_chance", "proximity": "proximal_chance"}
_MISSED = (0.0, 0.0, 1.0)
_NAMED = 5  # images that a note names


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


class _CaseFinder:
    """Finds the cases of one image, in parts that hold some of its relationships.

    A table has at most `_CELLS` cells. So the memory depends on the result, not on the product of
    relationships and candidates. Besides the shape letters of the file:

        U  entities that occur in an annotated relationship
        B  relationships of a part

    Attributes:
        relations: (D, 3) rows (subject, object, predicate), sorted.
        most_triplets: a number that the triplets of all cases can't exceed.
        num_annotated: number of distinct annotated relationships, including those of an entity with itself.
    """

    def __init__(self, truth: GroundTruthGraph) -> None:
        self._classes, self._boxes = truth.classes, truth.boxes
        self._annotated = np.unique(truth.relations, axis=0).reshape(-1, 3)
        entities_and_predicates = len(truth.boxes), len(truth.boxes), self._annotated[:, 2].max(initial=0) + 1
        self._shape = tuple(max(1, int(size)) for size in entities_and_predicates)
        self.num_annotated = len(self._annotated)
        entities = np.unique(self._annotated[:, :2])
        # Entity row -> its row in the (U, G) table.
        self._row = np.zeros(len(truth.boxes), dtype=np.int64)
        self._row[entities] = np.arange(len(entities))
        self._same = _same_entity(truth, entities)
        twin = self._same.sum(axis=1) > 1
        self._twins, self._same_twins = entities[twin], self._same[twin].astype(np.float32)
        self.relations = self._annotated[~self._is_same(self._annotated[:, 0], self._annotated[:, 1])]
        # A wrong triplet differs from its relationship in the subject or in the object.
        self.most_triplets = len(self.relations) * (2 * len(truth.boxes) + 1)

    def keys(self, triplets: IntArray) -> npt.NDArray[np.int64]:
        """(K,) a number for each of (K, 3) triplets of the image, in the order of the sorted rows."""
        keys: npt.NDArray[np.int64] = np.ravel_multi_index(tuple(triplets.T), self._shape)
        return keys

    def triplets(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(K, 3) the triplets of (K,) keys."""
        return np.stack(np.unravel_index(keys, self._shape), axis=1)

    def parts(self, kind: str) -> Iterator[ConfusableCases]:
        """The cases of a kind; a part may be empty. `case` counts from 0 in each part."""
        size = max(1, _CELLS // max(len(self._classes), len(self._annotated), 1))
        for start in range(0, len(self.relations), size):
            part = self.relations[start : start + size]
            subjects, objects = _CANDIDATES[kind](self, part)
            yield self._competing(part, subjects, objects)

    def instance_candidates(self, part: IntArray) -> tuple[BoolArray, BoolArray]:
        """Entities of the same class as the subject, and those of the same class as the object.

        Args:
            part: (B, 3) rows of `relations`.

        Returns:
            (B, G), (B, G).
        """
        subject, object, _ = part.T
        return (
            self._classes[subject][:, None] == self._classes,
            self._classes[object][:, None] == self._classes,
        )

    def proximity_candidates(self, part: IntArray) -> tuple[BoolArray, BoolArray]:
        """Subjects and objects of the neighbours. Arguments and result: see `instance_candidates`."""
        subject, object, predicate = part.T
        others, other_objects, other_predicates = self.relations.T
        boxes = enclosing_boxes(self._boxes[subject], self._boxes[object])
        other_boxes = enclosing_boxes(self._boxes[others], self._boxes[other_objects])
        # "a behind b" and "b behind c" are a chain: "a behind c" is often true and rarely annotated. Two
        # relationships with the same subject or the same object need no rule: their crossed triplets are the
        # two relationships themselves.
        neighbours = predicate[:, None] == other_predicates
        for side in (0, 1):
            low = np.maximum(boxes[:, None, side], other_boxes[:, side])
            neighbours &= np.minimum(boxes[:, None, side + 2], other_boxes[:, side + 2]) > low
        neighbours &= ~self._is_same(subject[:, None], other_objects)
        neighbours &= ~self._is_same(object[:, None], others)
        return self._marked(neighbours, others), self._marked(neighbours, other_objects)

    def _competing(self, part: IntArray, subjects: BoolArray, objects: BoolArray) -> ConfusableCases:
        """Keep the candidates that are wrong, and the relationships that have a wrong candidate.

        A candidate is not wrong if it has the same entities, in the sense of `_same_entity`, as an annotated
        relationship of its predicate, or if its subject and object are the same entity.

        Args:
            part: (B, 3) relationships that may become cases.
            subjects, objects: (B, G) entities that may replace the subject and the object. Changed.
        """
        subject, object, predicate = part.T
        annotated_subject, annotated_object, annotated_predicate = self._annotated.T
        same_predicate = predicate[:, None] == annotated_predicate
        objects &= ~self._is_same_as_marked(
            same_predicate & self._is_same(subject[:, None], annotated_subject), annotated_object
        )
        objects &= ~self._same[self._row[subject]]
        subjects &= ~self._is_same_as_marked(
            same_predicate & self._is_same(object[:, None], annotated_object), annotated_subject
        )
        subjects &= ~self._same[self._row[object]]

        by_subject, other_subject = subjects.nonzero()
        by_object, other_object = objects.nonzero()
        row = np.concatenate([by_subject, by_object])
        wrong = np.concatenate([part[by_subject], part[by_object]]).astype(np.int64)
        wrong[: len(by_subject), 0] = other_subject
        wrong[len(by_subject) :, 1] = other_object
        order = np.lexsort((wrong[:, 1], wrong[:, 0], row))
        is_case = subjects.any(axis=1) | objects.any(axis=1)
        return ConfusableCases(part[is_case], (np.cumsum(is_case) - 1)[row[order]], wrong[order])

    def _is_same(self, entity: IntArray, other: IntArray) -> BoolArray:
        """Whether two entities count as one; the first one occurs in a relationship. Rows broadcast."""
        same: BoolArray = self._same[self._row[entity], other]
        return same

    def _marked(self, chosen: BoolArray, entity: IntArray) -> BoolArray:
        """(B, G), whether an entity belongs to a chosen column.

        Args:
            chosen: (B, K).
            entity: (K,) the entity of each column.
        """
        marked = np.zeros((len(chosen), len(self._classes)), dtype=np.bool_)
        row, column = chosen.nonzero()
        marked[row, entity[column]] = True
        return marked

    def _is_same_as_marked(self, chosen: BoolArray, entity: IntArray) -> BoolArray:
        """(B, G), whether an entity counts as one with the entity of a chosen column, see `_marked`."""
        marked = self._marked(chosen, entity)
        if len(self._twins):
            # Float32 products are fast, and a sum of zeros and ones is 0 only if all are.
            marked |= (marked[:, self._twins].astype(np.float32) @ self._same_twins) > 0
        return marked


# Kind -> the method that finds candidates for wrong subjects and objects.
_CANDIDATES = {
    "instance": _CaseFinder.instance_candidates,
    "proximity": _CaseFinder.proximity_candidates,
}


def instance_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Find the relationships (s, p, o) with another entity of the class of s or of o.

    The wrong triplets are (s, p, o') for all other entities o' of the class of o, and (s', p, o) for all
    other entities s' of the class of s, except those that `_CaseFinder` drops.
    """
    return _joined(_CaseFinder(truth).parts("instance"))


def proximity_cases(truth: GroundTruthGraph) -> ConfusableCases:
    """Find the relationships (s, p, o) with a neighbour (s2, p, o2) of the same predicate.

    Neighbours have no entity in common, and their enclosing boxes share area. The wrong triplets are the
    crossed ones, (s, p, o2) and (s2, p, o), except those that `_CaseFinder` drops.
    """
    return _joined(_CaseFinder(truth).parts("proximity"))


KINDS = {"instance": instance_cases, "proximity": proximity_cases}


def _joined(parts: Iterable[ConfusableCases]) -> ConfusableCases:
    none = np.zeros((0, 3), dtype=np.int64)
    found = [ConfusableCases(none, none[:, 0], none), *parts]
    first = np.cumsum([0, *(len(part.right) for part in found)])
    return ConfusableCases(
        np.concatenate([part.right for part in found]),
        np.concatenate([part.case + start for part, start in zip(found, first, strict=False)]),
        np.concatenate([part.wrong for part in found]),
    )


def _same_entity(truth: GroundTruthGraph, entities: IntArray) -> BoolArray:
    """Compute which annotated entities count as one entity.

    These are entities of one class whose boxes have an IoU of at least `SAME_ENTITY_IOU`. Other protocols
    can't tell them apart either, and people often annotate one thing twice.

    Args:
        truth: annotation with G entities.
        entities: (U,) rows of some of them.

    Returns:
        (U, G) bool, whether each of them counts as one with each entity of the image.
    """
    same: BoolArray = truth.classes[entities][:, None] == truth.classes
    size = max(1, _CELLS // max(len(truth.boxes), 1))
    for start in range(0, len(entities), size):
        rows = slice(start, start + size)
        same[rows] &= box_iou(truth.boxes[entities[rows], None], truth.boxes, 0.0) >= SAME_ENTITY_IOU
    same[np.arange(len(entities)), entities] = True
    return same


def is_confusable(truth: GroundTruthGraph) -> bool:
    """Whether the image has a case of either kind. Such images are the confusion subset."""
    finder = _CaseFinder(truth)
    return any(len(part.right) for kind in KINDS for part in finder.parts(kind))


def asks_too_much(truth: GroundTruthGraph) -> bool:
    """Whether the cases of an image have more than `MOST_TRIPLETS` triplets, so that it is not scored."""
    return _asks_too_much(_CaseFinder(truth))


def _asks_too_much(finder: _CaseFinder) -> bool:
    # Ordinary images have so few relationships that nothing has to be counted.
    return finder.most_triplets > MOST_TRIPLETS and len(_case_triplets(finder)) > MOST_TRIPLETS


def confusion_triplets(truth: GroundTruthGraph) -> npt.NDArray[np.int64]:
    """(Q, 3) rows (subject, object, predicate): all triplets of an image's cases, sorted and without repeats.

    The model is asked for their scores, because few of them are in its ranked list. If there are more than
    `MOST_TRIPLETS`, the image is not scored and the model is asked for nothing: Q is 0.
    """
    finder = _CaseFinder(truth)
    keys = _case_triplets(finder)
    return finder.triplets(keys if len(keys) <= MOST_TRIPLETS else keys[:0])


def _case_triplets(finder: _CaseFinder) -> npt.NDArray[np.int64]:
    """(Q,) keys of the triplets of an image's cases; beyond `MOST_TRIPLETS`, not of all."""
    known, new = np.zeros(0, dtype=np.int64), [np.zeros(0, dtype=np.int64)]
    for part in (part for kind in KINDS for part in finder.parts(kind)):
        new.append(finder.keys(np.concatenate([part.right, part.wrong])))
        # Sorted when there is as much new as known, so that no key is sorted again and again.
        if sum(map(len, new)) > max(len(known), _CELLS):
            known, new = _sorted_distinct([known, *new]), []
            if len(known) > MOST_TRIPLETS:
                break
    return _sorted_distinct([known, *new])


def _sorted_distinct(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """The different numbers of some arrays, sorted. Faster than `np.unique`, which hashes integers."""
    every = np.sort(np.concatenate(parts))
    return every[np.diff(every, prepend=-1) > 0]


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


def _judged(cases: ConfusableCases, answers: TripletAnswers | None) -> JudgedCases:
    wrong = np.bincount(cases.case)
    shares = np.tile(_MISSED, (len(cases.right), 1)) if answers is None else outcomes(cases, answers)
    return JudgedCases(cases.right[:, 2], shares, 1 / (1 + wrong))


def _joined_judged(parts: Iterable[JudgedCases]) -> JudgedCases:
    found = [JudgedCases(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros(0)), *parts]
    return JudgedCases(*(np.concatenate([getattr(x, f.name) for x in found]) for f in fields(JudgedCases)))


def _excluded(image_ids: Sequence[str]) -> str:
    """A note about the images that ask too much; empty if there are none."""
    if not image_ids:
        return ""
    images = "1 image is" if len(image_ids) == 1 else f"{len(image_ids)} images are"
    more = " and others" if len(image_ids) > _NAMED else ""
    return (
        f"{images} not scored, because the cases have more than {MOST_TRIPLETS:,} triplets in an image: "
        f"image {', '.join(image_ids[:_NAMED])}{more}."
    )


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

    def match(self, image: ScoredImage, task: Task) -> dict[str, JudgedCases] | None:
        """Compute the outcomes of the cases of one image. Without answers, all cases are missed.

        Returns:
            Kind -> its cases; None if the image asks too much.
        """
        finder = _CaseFinder(image.truth)
        if _asks_too_much(finder):
            return None
        answers = image.predicted.triplet_answers
        return {kind: _joined_judged(_judged(x, answers) for x in finder.parts(kind)) for kind in KINDS}

    def columns(self, records: Sequence[dict[str, JudgedCases] | None]) -> dict[str, npt.NDArray[Any]]:
        """The records of N images as columns (see `reldn_d2.evaluation.columns`).

        "images/excluded", (N,) bool, whether an image asks too much. For each kind, "images/chance_KIND",
        (N,) float64, the sum of the chances of its cases; and a table of the cases with "predicate", (D,)
        int, and "halves", (D, 3) int, twice the shares.
        """
        excluded = np.array([record is None for record in records], dtype=np.bool_)
        columns: dict[str, npt.NDArray[Any]] = {"images/excluded": excluded}
        for kind in KINDS:
            judged = [_joined_judged([]) if record is None else record[kind] for record in records]
            every = _joined_judged(judged)
            columns |= {
                f"images/chance_{kind}": np.array([x.chance.sum() for x in judged], dtype=np.float64),
                f"{kind}/image": image_of_rows([len(x.predicate) for x in judged]),
                f"{kind}/predicate": compact(every.predicate),
                # A share is 0, 1/2 or 1.
                f"{kind}/halves": (2 * every.shares).astype(np.uint8),
            }
        return columns

    def summarise(
        self,
        image_ids: Sequence[str],
        records: Sequence[dict[str, JudgedCases] | None],
        split: EvaluatedSplit,
    ) -> ProtocolResult:
        """Compute the shares and the chance level over some images, see `summarise_columns`."""
        return self.summarise_columns(image_ids, [self.columns(records)], split)

    def summarise_columns(
        self, image_ids: Sequence[str], parts: Iterable[Columns], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Compute the shares and the chance level over some images.

        They are absent for a kind without a case. Images that ask too much count as images without a case,
        and a note names them.
        """
        sizes = len(split.predicate_classes), len(image_ids)
        tallies = {kind: _CaseTally(kind, *sizes) for kind in KINDS}
        asks_too_much = []
        for columns in parts:
            asks_too_much.append(columns["images/excluded"])
            for tally in tallies.values():
                tally.add(columns)
        excluded = _excluded(
            [image_ids[row] for row in np.flatnonzero(np.concatenate(asks_too_much)).tolist()]
        )
        result = ProtocolResult({}, {}, notes=[excluded] if excluded else [], excluded=excluded)
        for kind, names in _METRICS.items():
            counts, chance = tallies[kind].per_image(image_ids)
            result.per_image[f"{self.name}_{kind}"] = counts
            cases, images = counts.ground_truths, int(np.count_nonzero(counts.ground_truths))
            facts = NumberFacts(self.name, split.task, "", "", None, "micro", None, images, int(cases.sum()))
            for name in names:
                result.add(name, micro_recall(counts.hits[name], cases), facts)
            result.add(_CHANCE[kind], micro_recall(chance, cases), facts)
            result.notes.append(
                f"{cases.sum()} {kind} cases in {images} images. {_CHANCE[kind]}: share that random scores "
                "get right if everything is detected."
            )
            cases_of, halves_of = tallies[kind].cases_of_predicate, tallies[kind].halves_of_predicate
            result.per_predicate[f"{kind} cases"] = cases_of
            for name, halves in zip(names, halves_of, strict=True):
                result.per_predicate[name] = percent(halves / 2, cases_of)
                result.column_facts[name] = facts
        return result


class _CaseTally:
    """What is counted of the cases of one kind, in images that come in parts.

    Attributes:
        cases_of_predicate: (P,) int, number of cases of each predicate.
        halves_of_predicate: (3, P) float, twice the sum of each share over these cases.
    """

    def __init__(self, kind: str, num_predicates: int, num_images: int) -> None:
        self._kind, self._num_predicates, self._images = kind, num_predicates, 0
        self.cases_of_predicate = np.zeros(num_predicates, dtype=np.int64)
        self.halves_of_predicate = np.zeros((len(_METRICS[kind]), num_predicates))
        self._cases = np.zeros(num_images, dtype=np.int32)
        self._hits = np.zeros((len(_METRICS[kind]), num_images))
        self._chance = np.zeros(num_images)

    def add(self, columns: Columns) -> None:
        """Add the next images."""
        table = {name: columns[f"{self._kind}/{name}"] for name in ("image", "predicate", "halves")}
        chance = columns[f"images/chance_{self._kind}"]
        halves = table["halves"].T
        self.cases_of_predicate += np.bincount(table["predicate"], minlength=self._num_predicates)
        self.halves_of_predicate += _sums(table["predicate"], halves, self._num_predicates)
        rows = slice(self._images, self._images + len(chance))
        self._cases[rows] = rows_per_image(table["image"], len(chance))
        self._hits[:, rows] = _sums(table["image"], halves, len(chance)) / 2
        self._chance[rows] = chance
        self._images = rows.stop

    def per_image(self, image_ids: Sequence[str]) -> tuple[PerImageRecall, npt.NDArray[np.float64]]:
        """The counts of each image, and (N,) the sum of the chances of its cases."""
        hits = dict(zip(_METRICS[self._kind], self._hits, strict=True))
        return PerImageRecall(tuple(image_ids), self._cases, hits), self._chance


def _sums(group: IntArray, values: IntArray, num_groups: int) -> npt.NDArray[np.float64]:
    """(K, groups) the sum of each of (K, D) rows of values in each group; `group` is (D,) int."""
    return np.stack([np.bincount(group, weights=row, minlength=num_groups) for row in values])


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
        finder = _CaseFinder(truth)
        relationships.append(finder.num_annotated)
        for kind, counts in cases.items():
            counts.append(sum(len(part.right) for part in finder.parts(kind)))
    return ConfusionFrequency(
        np.array(relationships, dtype=np.int64),
        {kind: np.array(counts, dtype=np.int64) for kind, counts in cases.items()},
    )
