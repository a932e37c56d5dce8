"""The contract of a relation head: everything that RelDN, its trainer and its checkpoints ask a head for.

docs/relation_heads.md explains it with a complete small head.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from detectron2.structures import Instances
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Queries
from reldn_d2.structures.predicate_counts import PredicateCounts

#: Feature maps of a backbone by name, each (N, channels, height, width).
FeatureMaps = dict[str, Tensor]
#: A part of the detector that a module of a head may start as a copy of. "box_head" turns a pooled region
#: into a vector (`region_parts(...).head`). "classifier" turns this vector into the scores of the entity
#: classes and the background. In a cascade both are those of the last stage.
DetectorPart = Literal["box_head", "classifier"]

PAGE = "docs/relation_heads.md"
_FIELDS = {
    "relations": ("subject_index", "object_index", "pred_predicates", "scores", "rank_in_pair"),
    "pair_answers": ("pair_scores", "predicate_probs"),
    "triplet_answers": ("scores",),
}


@dataclass(frozen=True)
class DetectorCopy:
    """A module of a head that starts as a copy of a part of the detector.

    Attributes:
        module: the module, with the parameters of the part, under the same names.
        part: the part.
    """

    module: nn.Module
    part: DetectorPart


@dataclass(frozen=True)
class ClassRows:
    """A layer of a head whose parameters have a row for each class or predicate, in their first dimension.

    When a training starts from a checkpoint of other classes, the rows of classes that both have are copied
    by name.

    Attributes:
        layer: the layer, or one parameter.
        kind: whether the rows belong to entity classes ("thing_classes") or predicates ("predicate_classes").
        background: whether there is one more row, for the background, in the last place.
    """

    layer: nn.Module | nn.Parameter
    kind: Literal["thing_classes", "predicate_classes"]
    background: bool = False


class RelationHead(nn.Module, ABC):
    """Finds the relationships between the entities of images. The base class of every relation head.

    A head must have `num_predicates`, `losses` and `inference`. All other methods have defaults, which say
    that the head does not need what they are about. `PairwiseRelationHead` implements `losses` and
    `inference` for heads that score pairs of entities.

    Shape letters (N images, E entities, P predicates, C entity classes): see `reldn_d2.structures.pairs`. The
    entities of all images of a batch are flattened into one `EntityBatch`.

    Attributes:
        num_predicates: P, without the background.
    """

    num_predicates: int

    def __new__(cls, *_: Any, **__: Any) -> "RelationHead":
        """Refuses a class that lacks a method of the contract.

        Raises:
            ValueError: methods are missing. The message names them.
        """
        if cls.__abstractmethods__:
            raise ValueError(_incomplete(cls, sorted(cls.__abstractmethods__)))
        return super().__new__(cls)

    @property
    def uses_detector_features(self) -> bool:
        """Whether the head needs feature maps of the detector's backbone. They have no gradient."""
        return False

    @property
    def uses_relation_features(self) -> bool:
        """Whether the head needs feature maps of a predicate backbone, which is trained with the head."""
        return False

    @property
    def relation_in_features(self) -> Sequence[str] | None:
        """Names of the predicate backbone's feature maps that the head reads; None: all.

        What only the other maps depend on is not trained.
        """
        return None

    @abstractmethod
    def losses(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        matched: Tensor,
        ground_truth: list[Instances],
        relations: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the losses of a training step.

        Args:
            features: feature maps of the frozen detector's backbone; may be empty unless
                `uses_detector_features`.
            relation_features: feature maps of the predicate backbone if `uses_relation_features`, otherwise
                None.
            entities: the E entities of all images, of score 1, with the annotated classes. In
                SAMPLING.METHOD "published" the last ones of an image are its annotated boxes, row by row.
            matched: (E,) long, for each entity the ground-truth row in its image that it is matched to.
            ground_truth: annotated entities of each image, with `gt_boxes` and `gt_classes`.
            relations: for each image (R, 3) long rows (subject, object, predicate) of ground-truth rows.

        Returns:
            Weighted scalars by name. They also have a graph if a batch has nothing to learn from, because
            several processes must agree on the gradients.
        """

    @abstractmethod
    def inference(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        *,
        entities_given: bool,
        queries: list[Queries] | None = None,
    ) -> list[dict[str, Instances]]:
        """Ranks the relationships of each image and answers queries.

        Args:
            features, relation_features: see `losses`.
            entities: the E entities of all images, after `refine_entities`.
            entities_given: whether the entities are annotated (sgcls and prdcls).
            queries: None, or for each image queries in rows of the entities of that image. Pairs may repeat,
                and subject and object of a pair may be the same entity. In a triplet they are two different
                entities.

        Returns:
            One dict for each image, with `Instances` whose `image_size` is the image's entry in `frames` of
            the entities:

            * "relations": relationships by falling score with `subject_index` and `object_index` (rows of the
              entities of the image), `pred_predicates`, `scores` and `rank_in_pair`, which is 1 for the best
              predicate of its pair, 2 for the second best, and so on; optionally, `predicate_scores`, the
              factor of `scores` that belongs to the predicate;
            * "pair_answers", if there are queries: for each of A pairs asked about `pair_scores` (A,), the
              factor of the scores of all its triplets, and `predicate_probs` (A, P), without the background;
            * "triplet_answers", if there are queries: for each of Q triplets asked about `scores` (Q,), as in
              "relations", and, optionally, `considered` (Q,) bool, which is False (and the score 0) if the
              head excludes the pair from its list.

            Answers keep the order of the queries. Those for an image without queries are empty.
        """

    def refine_entities(
        self, features: FeatureMaps, entities: EntityBatch, *, task: Literal["sgdet", "sgcls"]
    ) -> EntityBatch:
        """Changes labels, scores or boxes of the entities before `inference`. By default nothing changes.

        It is called in inference, but not in prdcls, where boxes and classes are given.

        Args:
            features: feature maps of the detector's backbone, if `uses_detector_features`.
            entities: the E entities of all images: in sgdet the detections, in sgcls the given boxes with the
                detector's best class for each.
            task: "sgdet" or "sgcls". In sgcls the boxes are given and must stay.

        Returns:
            The same entities in the same order, with other `classes` and `scores`, in sgdet also with other
            `boxes` and `regions`: `dataclasses.replace(entities, ...)`. `extra` may keep (E, ...) tensors for
            `inference`, so that nothing is computed twice.
        """
        return entities

    def set_predicate_counts(self, counts: PredicateCounts) -> None:
        """Takes the statistics of the training set, before a training. By default they are not used.

        Args:
            counts: (C, C, P+1) how often each predicate, and in the last column no relationship, occurs for
                (subject class, object class). Of a large vocabulary, `SparsePredicateCounts`, which
                `np.asarray` makes an array of.
        """

    def detector_copies(self) -> Iterable[DetectorCopy]:
        """The modules that start as copies of parts of the detector when its checkpoint is loaded."""
        return ()

    def slow_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters with the low learning rate of the predicate backbone.

        The factor is SOLVER.PREDICATE_BACKBONE_LR_FACTOR.
        """
        return ()

    def bias_like_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters with the learning rate of biases (SOLVER.BIAS_LR_FACTOR) and without weight decay."""
        return ()

    def class_rows(self) -> Iterable[ClassRows]:
        """The layers that have a row for each class or predicate."""
        return ()

    def counted_parameters(self) -> Iterable[Tensor]:
        """Tables of statistics of a training set: parameters, and buffers that belong to them.

        A training that starts from a checkpoint of other classes keeps its own.
        """
        return ()


def check_relation_head(head: object) -> RelationHead:
    """Checks that an object is a relation head.

    Returns:
        The head.

    Raises:
        ValueError: it is not derived from `RelationHead`. The message names the methods that it lacks.
    """
    if isinstance(head, RelationHead):
        return head
    missing = [name for name in sorted(RelationHead.__abstractmethods__) if not hasattr(head, name)]
    raise ValueError(_incomplete(type(head), missing))


def _incomplete(kind: type, missing: Sequence[str]) -> str:
    base = "" if issubclass(kind, RelationHead) else "is not derived from reldn_d2.modeling.RelationHead"
    methods = f"lacks {', '.join(f'{name}()' for name in missing)}" if missing else ""
    return (
        f"the relation head {kind.__name__} {' and '.join(filter(None, (base, methods)))}: {PAGE} describes "
        "the contract and shows a small head"
    )


def check_refined(refined: EntityBatch, entities: EntityBatch, head: RelationHead, task: str) -> None:
    """Checks what `refine_entities` returned.

    Raises:
        ValueError: the number of entities of an image differs, boxes were changed in sgcls, or a changed box
            is not finite.
    """
    source = f"{type(head).__name__}.refine_entities() ({PAGE})"
    if not isinstance(refined, EntityBatch):
        raise ValueError(f"{source} returned a {type(refined).__name__}, not an EntityBatch")
    if list(refined.counts) != list(entities.counts):
        raise ValueError(
            f"{source} returned {refined.counts} entities of the images, not {entities.counts}: rows must "
            "stay, since relationships refer to them. Give an entity the score 0 to drop it"
        )
    for name, wanted in (
        ("boxes", (len(entities), 4)),
        ("classes", (len(entities),)),
        ("scores", (len(entities),)),
    ):
        value = getattr(refined, name)
        if not isinstance(value, Tensor) or value.shape != wanted:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{source} returned {name} of {shape}, not {wanted}: rows must stay")
    if refined.classes.is_floating_point():
        raise ValueError(f"{source} returned {refined.classes.dtype} classes, not integers")
    if refined.boxes is entities.boxes:
        return
    if task == "sgcls":
        raise ValueError(
            f"{source} changed the boxes in sgcls, where they are given: return them as they are"
        )
    # Only a head that moves boxes makes a GPU wait here.
    if not refined.boxes.isfinite().all():
        raise ValueError(f"{source} returned boxes that are infinite or NaN")


def check_results(
    results: Sequence[dict[str, Instances]],
    head: RelationHead,
    queries: Sequence[Queries] | None,
    images: int,
) -> None:
    """Checks what `inference` returned: names and lengths, but no values.

    Raises:
        ValueError: a result, a field or an answer is missing.
    """
    source = f"{type(head).__name__}.inference() ({PAGE})"
    if len(results) != images:
        raise ValueError(f"{source} returned {len(results)} results for {images} images")
    for i, result in enumerate(results):
        wanted: dict[str, int | None] = {"relations": None}
        if queries is not None:
            wanted |= {"pair_answers": len(queries[i].pairs), "triplet_answers": len(queries[i].triplets)}
        for key, length in wanted.items():
            if key not in result:
                raise ValueError(f"{source} returned no {key!r} of an image: it has {sorted(result)}")
            missing = [name for name in _FIELDS[key] if not result[key].has(name)]
            if missing:
                raise ValueError(f"{source} returned {key!r} without {', '.join(missing)}")
            if length is not None and len(result[key]) != length:
                raise ValueError(f"{source} returned {len(result[key])} {key!r} to {length} queries")
