"""Relation heads that score pairs of entities: sampling, losses, exact ranking and answers to queries."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, Generic, TypeVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from reldn_d2.config_values import check_arguments
from reldn_d2.structures import EntityBatch, Pairs, Queries, boxes_overlap

from ..memory_errors import memory_error_names
from .chunk_size import chosen_chunk_size
from .contract import PAGE, FeatureMaps, RelationHead
from .losses import ContrastiveLosses, predicate_cross_entropy
from .published_sampling import PublishedPairSampler
from .sampling import PairSampler
from .selection import Selection, select_in_batch

#: What a head computes once for each entity.
Encoded = TypeVar("Encoded")
PairScorer = Callable[[Pairs], Tensor]


class PairwiseRelationHead(RelationHead, Generic[Encoded]):
    """Everything of a relation head but the logits of pairs.

    A subclass implements `encode_entities`, which computes what belongs to single entities, and
    `predicate_logits`, which computes the logits of pairs from it. Training draws pairs with a sampler and
    adds cross entropy and contrastive losses. Inference ranks triplets by
    `score(subject) · score(object) · p(predicate)`. As p is at most 1, the product of the two entity scores
    bounds the scores of a pair, and pairs whose bound is too low are not scored (`selection`).

    Attributes:
        stops_early: whether `predicate_probabilities` never exceed 1, which this needs. A head that sets it
            to False has all its pairs scored, in chunks.
    """

    stops_early = True

    @configurable
    def __init__(
        self,
        *,
        num_predicates: int,
        sample_pairs: PairSampler | PublishedPairSampler,
        cross_entropy_weight: float = 1.0,
        contrastive_losses: ContrastiveLosses | None = None,
        overlap_only: bool = False,
        top_k: int = 100,
        chunk_size: int = 0,
    ) -> None:
        """Sets the attributes.

        Args:
            num_predicates: P, without the background.
            sample_pairs: draws the training pairs, as the paper or as its published code does.
            cross_entropy_weight: weight of L0; 0 switches it off.
            contrastive_losses: L1, L2 and L3, or other contrastive terms; None: no contrastive loss.
            overlap_only: whether sgdet considers only pairs whose boxes overlap.
            top_k: number of relationships kept per image, for each number of predicates per pair.
            chunk_size: number of unordered pairs scored at a time in inference; limits the memory. 0: 256 on
                a CPU, on a GPU as many as half of its free memory has room for, at most 1,024.

        Raises:
            ValueError: a value is not possible (`SETTINGS`).
        """
        super().__init__()
        check_arguments(
            "PairwiseRelationHead",
            num_predicates=num_predicates,
            cross_entropy_weight=cross_entropy_weight,
            overlap_only=overlap_only,
            top_k=top_k,
            chunk_size=chunk_size,
        )
        self.num_predicates = num_predicates
        self.sample_pairs = sample_pairs
        self.cross_entropy_weight, self.contrastive_losses = cross_entropy_weight, contrastive_losses
        self.overlap_only, self.top_k, self.chunk_size = overlap_only, top_k, chunk_size

    @classmethod
    def from_config(cls, cfg: CfgNode, _: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments of this class. A subclass adds its own.

        Args:
            cfg: the config.
            _: shapes of the backbone's feature maps, for a subclass.
        """
        head = cfg.MODEL.ROI_RELATION_HEAD
        sampler = PublishedPairSampler if head.SAMPLING.METHOD == "published" else PairSampler
        return {
            "num_predicates": head.NUM_PREDICATES,
            "sample_pairs": sampler(cfg),
            "cross_entropy_weight": head.LOSS.CROSS_ENTROPY_WEIGHT,
            "contrastive_losses": ContrastiveLosses(cfg),
            "overlap_only": head.OVERLAP_ONLY,
            "top_k": head.TEST.TOP_K,
            "chunk_size": head.TEST.CHUNK_SIZE,
        }

    @abstractmethod
    def encode_entities(self, features: FeatureMaps, entities: EntityBatch) -> Encoded:
        """Computes what belongs to single entities, once for all their pairs.

        Args:
            features: feature maps of the detector's backbone, if `uses_detector_features`.
            entities: the E entities of all images of a batch. What belongs to an entity may depend on other
                entities of its image, but not on those of other images.
        """

    @abstractmethod
    def predicate_logits(
        self, relation_features: FeatureMaps | None, entities: EntityBatch, encoded: Encoded, pairs: Pairs
    ) -> Tensor:
        """Computes the predicate logits of pairs.

        Args:
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            entities: E entities.
            encoded: result of `encode_entities` for these entities.
            pairs: M ordered pairs, whose unordered pairs are sorted by image. Not every image has pairs.

        Returns:
            (M, P+1) float, background last.
        """

    def predicate_probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of the predicates: the softmax over predicates and background.

        Args:
            logits: (M, P+1) logits of `predicate_logits`.

        Returns:
            (M, P), without the background. See `stops_early` for values above 1.

        Raises:
            ValueError: the logits have another number of columns.
        """
        self._check_columns(logits)
        return logits.softmax(dim=1)[:, : self.num_predicates]

    def bytes_per_pair(self, features: FeatureMaps, relation_features: FeatureMaps | None) -> int | None:
        """Memory that `predicate_logits` needs for an unordered pair in inference, in both directions.

        The size of a chunk on a GPU follows from it. None, as by default: it is not known, and a chunk has
        256 pairs.

        Args:
            features, relation_features: the feature maps of a batch.
        """
        return None

    def entity_losses(self, entities: EntityBatch, encoded: Encoded) -> dict[str, Tensor]:
        """Further losses, of single entities, such as that of refined labels. By default there are none.

        Args:
            entities: the E entities of a training batch, with the annotated classes.
            encoded: result of `encode_entities` for these entities.
        """
        return {}

    def losses(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        matched: Tensor,
        ground_truth: list[Instances],
        relations: list[Tensor],
    ) -> dict[str, Tensor]:
        """Draws training pairs and computes their losses, see `RelationHead.losses`.

        Returns:
            `loss_rel_cross_entropy`, the losses of `contrastive_losses` and `entity_losses`: weighted
            scalars. Losses of weight 0 are absent.
        """
        pairs, targets = self.sample_pairs(entities, matched, relations, [len(x) for x in ground_truth])
        get_event_storage().put_scalar("relation_head/num_pairs", len(pairs))

        encoded = self.encode_entities(features, entities)
        logits = self.predicate_logits(relation_features, entities, encoded, pairs)
        self._check_columns(logits)
        losses = self.entity_losses(entities, encoded)
        if self.contrastive_losses is not None:
            losses |= self.contrastive_losses(logits, entities, pairs, targets)
        if self.cross_entropy_weight:
            cross_entropy = predicate_cross_entropy(logits, targets)
            losses["loss_rel_cross_entropy"] = self.cross_entropy_weight * cross_entropy
        return losses

    def inference(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        *,
        entities_given: bool,
        queries: list[Queries] | None = None,
    ) -> list[dict[str, Instances]]:
        """Ranks the relationships of each image and answers queries, see `RelationHead.inference`.

        The list is complete for any number k of predicates per pair, see `selection`: the result for k is the
        first `top_k` rows among those of `rank_in_pair <= k`. The overlap filter is for detected entities
        only.
        """
        bytes_per_pair = self.bytes_per_pair(features, relation_features)
        chunk_size = self.chunk_size or chosen_chunk_size(entities.boxes.device, bytes_per_pair)
        with memory_error_names(len(entities.counts), chunk_size):
            encoded = self.encode_entities(features, entities)
            classify = partial(self._probabilities, relation_features, entities, encoded)
            classify_chunks = partial(_classify_chunks, classify, chunk_size)
            lists = self._rank(entities, classify, chunk_size, entities_given)
            results = []
            for image, ranked in enumerate(lists):
                result = {"relations": _relations(ranked, entities, image)}
                if queries is not None:
                    result |= self._answers(queries[image], entities, image, classify_chunks, entities_given)
                results.append(result)
        return results

    def _check_columns(self, logits: Tensor) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.num_predicates + 1:
            raise ValueError(
                f"{type(self).__name__}.predicate_logits() ({PAGE}) returned {tuple(logits.shape)}, not (M, "
                f"{self.num_predicates + 1}): a column for each predicate, and the background last. A head "
                "without background overrides `losses` and `predicate_probabilities`"
            )

    def _rank(
        self, batch: EntityBatch, classify: PairScorer, chunk_size: int, entities_given: bool
    ) -> list[Selection]:
        device = batch.boxes.device
        starts = accumulate(batch.counts, initial=0)
        tables = [
            torch.triu_indices(count, count, offset=1, device=device) + start
            for count, start in zip(batch.counts, starts, strict=False)
        ]
        first, second = torch.cat(tables, dim=1)
        return select_in_batch(
            lambda a, b: classify(Pairs.both_directions(a, b)),
            batch.scores,
            first,
            second,
            [table.shape[1] for table in tables],
            considered=self._considered(batch, first, second, entities_given),
            num_predicates=self.num_predicates,
            top_k=self.top_k,
            chunk_size=chunk_size,
            stop_early=self.stops_early,
        )

    def _considered(
        self, batch: EntityBatch, subject: Tensor, object: Tensor, entities_given: bool
    ) -> Tensor | None:
        """(M,) bool, whether each of M pairs of entities can be in a relationship; None: all can."""
        if entities_given or not self.overlap_only:
            return None
        return boxes_overlap(batch.boxes[subject], batch.boxes[object])

    def _answers(
        self,
        asked: Queries,
        batch: EntityBatch,
        image: int,
        classify_chunks: Callable[[Tensor], Iterator[Tensor]],
        entities_given: bool,
    ) -> dict[str, Instances]:
        """The answers to the queries of an image. A GPU waits for each kind and each chunk of triplets."""
        frame, start = batch.frames[image], sum(batch.counts[:image])
        pairs = asked.pairs + start
        pair_scores, probs = _pair_scores(batch, pairs), torch.cat([*classify_chunks(pairs)])
        answers = {"pair_answers": Instances(frame, pair_scores=pair_scores, predicate_probs=probs)}

        pairs, predicate = asked.triplets[:, :2] + start, asked.triplets[:, 2]
        considered = self._considered(batch, pairs[:, 0], pairs[:, 1], entities_given)
        if considered is None:
            considered = torch.ones_like(predicate, dtype=torch.bool)
        pairs = pairs[considered]
        found = _triplet_probabilities(classify_chunks, pairs, predicate[considered])
        found = found.to(batch.scores.dtype)
        if self.stops_early:  # as in `select_in_batch`
            found = found.clamp(max=1)
        scores = batch.scores.new_zeros(len(predicate))
        scores[considered] = _pair_scores(batch, pairs) * found
        answers["triplet_answers"] = Instances(frame, scores=scores, considered=considered)
        return answers

    def _probabilities(
        self, relation_features: FeatureMaps | None, batch: EntityBatch, encoded: Encoded, pairs: Pairs
    ) -> Tensor:
        logits = self.predicate_logits(relation_features, batch, encoded, pairs)
        return self.predicate_probabilities(logits)


def _pair_scores(batch: EntityBatch, pairs: Tensor) -> Tensor:
    """(M,) products of the two entity scores of (M, 2) pairs."""
    subject, object = pairs.unbind(dim=1)
    return batch.scores[subject] * batch.scores[object]


def _classify_chunks(classify: PairScorer, chunk_size: int, pairs: Tensor) -> Iterator[Tensor]:
    """The probabilities (at most `chunk_size`, P) of (M, 2) ordered pairs of an image, chunk by chunk."""
    for chunk in torch.split(pairs, chunk_size):
        yield classify(Pairs.one_direction(*chunk.unbind(dim=1)))


def _triplet_probabilities(
    classify_chunks: Callable[[Tensor], Iterator[Tensor]], pairs: Tensor, predicate: Tensor
) -> Tensor:
    """(Q,) probabilities of the triplets of (Q, 2) pairs and (Q,) predicates.

    Several triplets of a pair share its probabilities. Of a chunk only the probabilities that are asked for
    are kept, because an image may be asked about every pair of its entities.
    """
    distinct, pair = torch.unique(pairs, dim=0, return_inverse=True)
    order = pair.argsort(stable=True)
    pair, predicate = pair[order], predicate[order]
    found, first = [], 0
    for probs in classify_chunks(distinct):
        limits = pair.new_tensor([first, first + len(probs)])
        rows = slice(*torch.searchsorted(pair, limits).tolist())
        found.append(probs[pair[rows] - first, predicate[rows]])
        first += len(probs)
    in_order = torch.cat(found)
    return torch.empty_like(in_order).index_copy_(0, order, in_order)


def _relations(ranked: Selection, batch: EntityBatch, image: int) -> Instances:
    """The ranked list of an image, in rows of its entities."""
    start = sum(batch.counts[:image])
    return Instances(
        batch.frames[image],
        subject_index=ranked.subject - start,
        object_index=ranked.object - start,
        pred_predicates=ranked.predicate,
        scores=ranked.score,
        rank_in_pair=ranked.rank_in_pair,
        predicate_scores=ranked.predicate_score,
    )
