"""The published arrangement of the same model, beside ours: sgdet of photos end to end.

As published: one image at a time, every ordered pair with a region of its own, the concatenated features of
subject, predicate and object through all layers (eq. 12 as it is written), and one sort of all triplets. The
model has the same weights as ours, and gives the same list. It was written for this comparison.
"""

from collections.abc import Iterator

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from reldn_d2.modeling.relation_head.modules import VisualModule
from reldn_d2.structures import enclosing_boxes

from .inference import Predict, photo_inputs, photo_model, same_answers, similar_answers
from .sgdet_model import WithDetections, photos, r50_config
from .timing import Row, Skipped, Timer, noted
from .ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, AS_BUILT_BF16, Way


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the four photos in float32, in bfloat16, and ours in bfloat16 beside theirs in float32."""
    found = photos(r50_config().INPUT.MIN_SIZE_TEST)[: timer.photos]
    yield from rows_of(timer, f"R-50-FPN sgdet of {len(found)} photo(s), end to end", found)


def rows_of(timer: Timer, name: str, found: list[Instances]) -> Iterator[Row | Skipped]:
    """Measures photos.

    Args:
        timer: what measures.
        name: start of the names of the rows.
        found: detections of each photo, in pixels of the network input.
    """
    recalls: list[float] = []

    def similar(ours: list[Instances], theirs: list[Instances]) -> None:
        recalls.append(similar_answers(ours, theirs))

    built = photo_model(AS_BUILT, timer.device)
    pairs = ((ACCELERATED, AS_BUILT), (ACCELERATED_BF16, AS_BUILT_BF16), (ACCELERATED_BF16, AS_BUILT))
    for way, their_way in pairs:
        # Photos have different sizes, so ours are not batched either.
        ours = Predict(photo_model(way, timer.device), way, found, 1)
        row = timer.measure(
            f"{name}, {way}",
            ours,
            slow=PublishedArrangement(built, their_way, found),
            slow_name=f"published arrangement, {their_way.precision}",
            same=same_answers if way.precision == "fp32" else similar,
            precision=way.precision,
        )
        if way.precision == "bf16":
            row = noted(row, lambda _: f"{recalls[-1]:.1%} of their 100 best triplets are among our 100 best")
        yield row


class PublishedArrangement:
    """Predicts photos with the parts of a model, put together as the published code does."""

    def __init__(self, model: WithDetections, way: Way, detections: list[Instances]) -> None:
        """Makes the pictures.

        Args:
            model: model that was prepared for the way.
            way: how the model runs.
            detections: detections of each photo, in pixels of the network input.
        """
        self.model, self.way, self.detections = model, way, detections
        self.inputs = photo_inputs(detections)

    @torch.no_grad()
    def __call__(self) -> list[Instances]:
        """The ranked relationships of each photo."""
        results = []
        for record, found in zip(self.inputs, self.detections, strict=True):
            self.model.replacements = [found]
            with self.way.autocast(self.model.device.type):
                images = self.model.preprocess_image([record])
                features = self.model.backbone(images.tensor)
                (entities,) = self.model._detect(images, features)
                assert self.model.relation_backbone is not None
                logits, subject, object = self._every_pair(
                    features, self.model.relation_backbone(images.tensor), entities
                )
            scores = entities.scores[subject] * entities.scores[object]
            results.append(
                self._ranked(logits.float().softmax(dim=1)[:, :-1], scores, subject, object, found)
            )
        return results

    def _every_pair(
        self, features: dict[str, Tensor], relation_features: dict[str, Tensor], entities: Instances
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (M, P+1) of all ordered pairs, and the rows (M,) of subject and object."""
        classifier = self.model.head.pair_classifier
        visual, spatial, semantic = classifier.visual, classifier.spatial, classifier.semantic
        assert visual is not None and spatial is not None and semantic is not None
        assert classifier.pooler is not None and classifier.predicate_head is not None
        assert classifier.subject_head is not None and classifier.object_head is not None
        boxes, count = entities.pred_boxes.tensor, len(entities)
        rows = torch.arange(count, device=boxes.device)
        subject, object = torch.cartesian_prod(rows, rows).unbind(dim=1)
        subject, object = subject[subject != object], object[subject != object]

        def pooled(maps: dict[str, Tensor], regions: Tensor) -> Tensor:
            assert classifier.pooler is not None
            taken = [maps[name] for name in classifier.in_features]
            result: Tensor = classifier.pooler(taken, [Boxes(regions)])
            return result

        of_entities = pooled(features, boxes)
        subjects = classifier.subject_head(of_entities)[subject]
        objects = classifier.object_head(of_entities)[object]
        regions = enclosing_boxes(boxes[subject], boxes[object])
        predicates = classifier.predicate_head(pooled(relation_features, regions))
        sizes = boxes.new_tensor(entities.image_size).expand(len(subject), 2)
        logits = _concatenated(visual, subjects, predicates, objects)
        logits = logits + spatial(boxes[subject], boxes[object], sizes)
        logits = logits + semantic(entities.pred_classes[subject], entities.pred_classes[object])
        return logits, subject, object

    def _ranked(
        self, probs: Tensor, pair_scores: Tensor, subject: Tensor, object: Tensor, found: Instances
    ) -> Instances:
        """All triplets by falling score, cut to the lists that ours has.

        These are, for each number k of predicates a pair, the `top_k` best among the k best of each pair.
        """
        num_predicates, top_k = probs.shape[1], self.model.head.top_k
        scores, order = (pair_scores[:, None] * probs).flatten().sort(descending=True, stable=True)
        rank = probs.argsort(dim=1, descending=True, stable=True).argsort(dim=1).flatten()[order]
        # The list for k = 1 fills last, so nothing after its end is in any list.
        first = (rank == 0).nonzero()[:top_k, 0]
        scores, order, rank = (x[: int(first[-1]) + 1] for x in (scores, order, rank))
        kept = torch.zeros_like(rank, dtype=torch.bool)
        for k in range(num_predicates):
            kept[(rank <= k).nonzero()[:top_k, 0]] = True
        order, scores, rank = order[kept], scores[kept], rank[kept]
        pair = order // num_predicates
        return Instances(
            found.image_size,
            subject_index=subject[pair],
            object_index=object[pair],
            pred_predicates=order % num_predicates,
            scores=scores,
            rank_in_pair=rank + 1,
        )


def _concatenated(visual: VisualModule, subjects: Tensor, predicates: Tensor, objects: Tensor) -> Tensor:
    """The visual module as eq. 12 is written. All features are (M, D)."""
    assert visual.fuse and visual.score and visual.subject_skip and visual.object_skip
    fused: Tensor = visual.score(visual.fuse(torch.cat([subjects, predicates, objects], dim=1)))
    fused += visual.subject_skip(subjects)
    fused += visual.object_skip(objects)
    return fused
