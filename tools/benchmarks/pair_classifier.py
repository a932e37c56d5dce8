"""Predicate probabilities of all ordered pairs of 100 entities, from given region features."""

from collections.abc import Iterator

import numpy as np
import torch
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor, nn

from reldn_d2.modeling.relation_head.modules import SemanticModule, SpatialModule, VisualModule
from reldn_d2.modeling.relation_head.pair_classifier import PairClassifier
from reldn_d2.structures import EntityBatch, Pairs

from .timing import Row, Skipped, Timer

_ENTITIES, _FEATURES, _CLASSES, _PREDICATES = 100, 1024, 150, 50
_CHUNK = 256  # MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the head beside slower ways, and in bfloat16."""
    head = _Head()
    name = f"head, {_ENTITIES} entities, {len(head.pairs)} pairs"
    yield timer.measure(
        name, head.chunks, slow=head.pair_by_pair, slow_name="concatenated pair by pair", same=_close
    )
    yield timer.measure(name, head.chunks, slow=head.at_once, slow_name="in one chunk", same=_close)
    yield timer.measure(
        f"{name}, bf16",
        head.bfloat16,
        slow=head.chunks,
        slow_name="float32",
        same=_roughly,
        precision="bf16",
    )


class _Head:
    """A PairClassifier whose features are given.

    Each entity has features as subject and as object, and each unordered pair has features of its region.
    """

    @torch.no_grad()
    def __init__(self) -> None:
        torch.manual_seed(0)
        semantic = SemanticModule(num_classes=_CLASSES, num_predicates=_PREDICATES)
        shape = tuple(semantic.log_prior.shape)
        semantic.set_counts(np.random.default_rng(0).integers(0, 3, shape))
        visual = VisualModule(feature_size=_FEATURES, num_predicates=_PREDICATES)
        self.spatial, self.semantic, self.visual = SpatialModule(num_predicates=_PREDICATES), semantic, visual
        self.classifier = PairClassifier(
            semantic=semantic,
            spatial=self.spatial,
            visual=visual,
            in_features=[],
            pooler=_NoPooler(),
            subject_head=None,
            object_head=None,
            predicate_head=_Given(),
        ).eval()
        corner = torch.rand(_ENTITIES, 2) * 400
        boxes = torch.cat([corner, corner + 20 + torch.rand(_ENTITIES, 2) * 200], dim=1)
        self.batch = EntityBatch(
            boxes=boxes,
            regions=boxes,
            classes=torch.randint(_CLASSES, (_ENTITIES,)),
            scores=torch.ones(_ENTITIES),
            image=torch.zeros(_ENTITIES, dtype=torch.long),
            image_sizes=torch.tensor([[600.0, 800.0]]),
            frames=[(600, 800)],
            counts=[_ENTITIES],
        )
        self.pairs = Pairs.both_directions(*torch.combinations(torch.arange(_ENTITIES)).unbind(dim=1))
        self.entity_features = torch.rand(2, _ENTITIES, _FEATURES)
        self.regions = torch.rand(len(self.pairs.first), _FEATURES)

    def chunks(self) -> Tensor:
        return self._classify(_CHUNK)

    def at_once(self) -> Tensor:
        return self._classify(len(self.pairs.first))

    def bfloat16(self) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self._classify(_CHUNK)

    @torch.no_grad()
    def _classify(self, chunk: int) -> Tensor:
        terms = self.visual.entity_terms(*self.entity_features)
        forth, back = [], []
        tables = (self.pairs.first, self.pairs.second, self.regions)
        parts = zip(*(torch.split(x, chunk) for x in tables), strict=True)
        for first, second, regions in parts:
            pairs = Pairs.both_directions(first, second)
            self.classifier.predicate_head.features = regions
            probs = self.classifier({}, self.batch, terms, pairs).softmax(dim=1)
            forth.append(probs[: len(first)])
            back.append(probs[len(first) :])
        return torch.cat([*forth, *back])

    @torch.no_grad()
    def pair_by_pair(self) -> Tensor:
        """All layers for the concatenated three features of every ordered pair, as eq. 12 is written."""
        pairs, batch, visual = self.pairs, self.batch, self.visual
        assert visual.fuse and visual.score and visual.subject_skip and visual.object_skip
        subject, object = self.entity_features[0][pairs.subject], self.entity_features[1][pairs.object]
        fused = visual.score(visual.fuse(torch.cat([subject, self.regions[pairs.union], object], dim=1)))
        skips = visual.subject_skip(subject) + visual.object_skip(object)
        sizes = batch.image_sizes[batch.image[pairs.subject]]
        spatial = self.spatial(batch.boxes[pairs.subject], batch.boxes[pairs.object], sizes)
        semantic = self.semantic(batch.classes[pairs.subject], batch.classes[pairs.object])
        logits: Tensor = fused + skips + spatial + semantic
        return logits.softmax(dim=1)


class _NoPooler(ROIPooler):
    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, maps: list[Tensor], boxes: list[object]) -> Tensor:
        return torch.empty(0)


class _Given(nn.Module):
    features: Tensor

    def forward(self, regions: Tensor) -> Tensor:
        return self.features


def _close(fast: Tensor, slow: Tensor) -> None:
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-6)


def _roughly(fast: Tensor, slow: Tensor) -> None:
    """Compares approximately: bfloat16 has 8 significant bits."""
    torch.testing.assert_close(fast, slow, rtol=0, atol=0.015)
