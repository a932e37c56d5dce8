"""The contract of a relation head: heads that keep it in small ways, and heads that break it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from reldn_d2.checkpoint import RelationCheckpointer, Vocabulary
from reldn_d2.engine import load_model, vocabulary_of
from reldn_d2.engine.optimizer import relation_optimizer_params
from reldn_d2.modeling import (
    ROI_RELATION_HEAD_REGISTRY,
    ClassRows,
    DetectorCopy,
    PairwiseRelationHead,
    RelationHead,
    RelDN,
    RelDNHead,
)
from reldn_d2.modeling.relation_head import check_relation_head
from reldn_d2.structures import Queries
from tests.builders.tiny_models import TinyConfig, calm_down, make_input

NAME = "MODEL.ROI_RELATION_HEAD.NAME"
CONTRACT = "docs/relation_heads.md"


class ByClasses(PairwiseRelationHead[Tensor]):
    """Logits from the classes of subject and object alone, with layers of every kind of the contract."""

    def __init__(self, cfg: Any, input_shape: Any) -> None:
        super().__init__(**PairwiseRelationHead.from_config(cfg, input_shape))
        num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        self.vectors = nn.Embedding(num_classes, 4)
        self.scores = nn.Linear(4, self.num_predicates + 1)
        self.slow = nn.Parameter(torch.ones(1))
        self.table = nn.Parameter(torch.zeros(num_classes, num_classes))
        self.labels = nn.Linear(cfg.MODEL.ROI_BOX_HEAD.FC_DIM, num_classes + 1)

    def encode_entities(self, features: Any, entities: Any) -> Tensor:
        return self.vectors(entities.classes) * self.slow

    def predicate_logits(self, relation_features: Any, entities: Any, encoded: Tensor, pairs: Any) -> Tensor:
        return self.scores(encoded[pairs.subject] - encoded[pairs.object])

    def detector_copies(self) -> Any:
        return [DetectorCopy(self.labels, "classifier")]

    def slow_parameters(self) -> Any:
        return [self.slow]

    def bias_like_parameters(self) -> Any:
        return [self.table]

    def class_rows(self) -> Any:
        return [
            ClassRows(self.vectors, "thing_classes"),
            ClassRows(self.scores.weight, "predicate_classes", background=True),
            ClassRows(self.scores.bias, "predicate_classes", background=True),
        ]

    def counted_parameters(self) -> Any:
        return [self.table]


def make(tiny_config: TinyConfig, head: Callable[..., Any], *options: str) -> RelDN:
    """RelDN with a head of this test."""
    name = f"HeadOfThisTest{len(list(ROI_RELATION_HEAD_REGISTRY))}"
    ROI_RELATION_HEAD_REGISTRY._do_register(name, head)
    torch.manual_seed(0)
    model: RelDN = build_model(tiny_config(NAME, name, *options))
    calm_down(model)
    return model


def answer(model: RelDN, task: str, asked: Queries) -> dict[str, Any]:
    model.eval().task = task
    result: dict[str, Any] = model([{**make_input(4, [(0, 1, 2)]), "queries": asked}])[0]
    return result


ASKED = Queries.from_rows(pairs=[(0, 1), (2, 2)], triplets=[(0, 1, 2), (3, 2, 0)])


# --- small heads


@pytest.mark.parametrize("method", ["paper", "published"])
def test_a_small_head_trains_and_answers(method: str, tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses, "MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD", method)
    assert model.relation_backbone is None, "the head reads no maps"
    with EventStorage():
        losses = model.train()([make_input(4, [(0, 1, 2)]), make_input(3, [(1, 0, 3)], seed=1)])
    assert set(losses) == {
        "loss_rel_cross_entropy",
        "loss_rel_class_agnostic",
        "loss_rel_entity_class",
        "loss_rel_predicate_class",
    }
    sum(losses.values()).backward()  # type: ignore[union-attr]
    head: Any = model.relation_head
    assert all(p.grad is not None for p in (head.vectors.weight, head.scores.weight, head.slow))
    output = answer(model, "prdcls", ASKED)
    assert len(output["relations"]) and output["relations"].rank_in_pair.min() == 1
    assert output["pair_answers"].predicate_probs.shape == (2, model.relation_head.num_predicates)
    assert output["pair_answers"].object_index.tolist() == [1, 2]
    assert output["triplet_answers"].detected.tolist() == [True, True]
    assert "triplet_answers" in answer(model, "sgdet", ASKED)


def test_the_classifier_starts_as_the_detectors(tiny_config: TinyConfig) -> None:
    for roi_heads, path in (("StandardROIHeads", ""), ("CascadeROIHeads", "2.")):
        options = ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True", "MODEL.ROI_HEADS.NAME", roi_heads]
        model = make(tiny_config, ByClasses, *options)
        detector = {k: v + 1 for k, v in model.state_dict().items() if "relation" not in k}
        model.load_state_dict(detector, strict=False)
        head: Any = model.relation_head
        assert torch.equal(head.labels.weight, detector[f"roi_heads.box_predictor.{path}cls_score.weight"])


def test_rates_and_decay_are_those_that_the_head_asks_for(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses)
    groups = relation_optimizer_params(
        model, base_lr=1.0, weight_decay=0.5, bias_lr_factor=2.0, predicate_backbone_lr_factor=0.25
    )
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    head: Any = model.relation_head
    assert found[id(head.slow)] == (0.25, 0.5)
    assert found[id(head.table)] == (2.0, 0.0)
    assert found[id(head.scores.weight)] == (1.0, 0.5)
    assert found[id(head.scores.bias)] == (2.0, 0.5)
    assert len(found) == sum(p.requires_grad for p in model.parameters())


def test_rows_are_copied_by_name_and_counted_tables_are_not(tiny_config: TinyConfig, tmp_path: Any) -> None:
    own = vocabulary_of(tiny_config().DATASETS.TRAIN[0])
    things, predicates = own.thing_classes, own.predicate_classes
    turned = Vocabulary(things[1:] + things[:1], predicates[1:] + predicates[:1])
    model = make(tiny_config, ByClasses)
    head: Any = model.relation_head
    with torch.no_grad():
        head.vectors.weight.copy_(torch.arange(len(things))[:, None].expand(-1, 4))
        head.scores.bias.copy_(torch.arange(len(predicates) + 1.0))
        head.table.fill_(7)
    RelationCheckpointer(model, str(tmp_path), vocabulary=turned).save("old")
    fresh = make(tiny_config, ByClasses)
    RelationCheckpointer(fresh, vocabulary=own).load(str(tmp_path / "old.pth"))
    copied: Any = fresh.relation_head
    last = len(things) - 1
    assert copied.vectors.weight[:, 0].tolist() == [last, *range(last)]
    last = len(predicates) - 1
    assert copied.scores.bias.tolist() == [last, *range(last), last + 1]
    assert (copied.table == 0).all(), "the table belongs to the old training set"


# --- refined entities


class Refining(ByClasses):
    """Gives every entity the class 1, and in sgdet moves its box by one pixel."""

    seen: Any = None
    places: Any = None

    def refine_entities(self, features: Any, entities: Any, *, task: Any) -> Any:
        ones = torch.ones_like(entities.classes)
        scores = entities.scores / 2
        kept = {"place": torch.arange(len(entities))}
        self.places = [*range(len(entities))]
        refined = replace(entities, classes=ones, scores=scores, extra=kept)
        return replace(refined, boxes=entities.boxes + 1) if task == "sgdet" else refined

    def encode_entities(self, features: Any, entities: Any) -> Tensor:
        if entities.extra:
            self.seen = entities.extra["place"]
        return super().encode_entities(features, entities)


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_refined_entities_are_those_of_the_result(task: str, tiny_config: TinyConfig) -> None:
    plain, refining = make(tiny_config, ByClasses), make(tiny_config, Refining)
    refining.load_state_dict(plain.state_dict())
    plain.eval().task = refining.eval().task = task
    inputs = [make_input(4, [(0, 1, 2)]), make_input(3, [(1, 0, 3)], seed=1)]
    for before, after in zip(plain(inputs), refining(inputs), strict=True):
        old, new = before["instances"], after["instances"]
        assert len(old) == len(new) > 0
        if task == "prdcls":
            assert torch.equal(old.pred_classes, new.pred_classes) and torch.equal(old.scores, new.scores)
            continue
        assert (new.pred_classes == 1).all()
        torch.testing.assert_close(new.scores, old.scores / 2)
        moved = (new.pred_boxes.tensor - old.pred_boxes.tensor).abs().max()
        assert moved > 0.5 if task == "sgdet" else moved == 0
        s, o = after["relations"].subject_index, after["relations"].object_index
        assert (after["relations"].scores <= new.scores[s] * new.scores[o] + 1e-6).all()
    if task != "prdcls":
        head: Any = refining.relation_head
        assert head.seen.tolist() == head.places


def test_queries_are_about_refined_entities(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, Refining)
    model.eval().task = "sgdet"
    inputs = make_input(2, [])
    truth = inputs["instances"]
    detections = Instances(
        truth.image_size, pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes, scores=torch.ones(2)
    )
    truth.gt_classes[:] = 1
    detections.pred_classes = torch.full((2,), 2)
    asked = Queries.from_rows(triplets=[(0, 1, 2)])
    output = model([{**inputs, "detections": detections, "queries": asked}])[0]
    assert output["triplet_answers"].detected.tolist() == [True], "refined to the annotated class"


# --- batches


@pytest.mark.parametrize("task", ["sgcls", "prdcls"])
def test_a_head_sees_a_batch_once_and_chunks_of_several_images(task: str, tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses, "MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE", "4")
    model.eval().task = task
    head: Any = model.relation_head
    encode, score = head.encode_entities, head.predicate_logits
    batches: list[Any] = []
    chunks: list[list[int]] = []

    def encoded_once(features: Any, entities: Any) -> Any:
        batches.append(entities)
        return encode(features, entities)

    def scored(maps: Any, entities: Any, encoded: Any, pairs: Any) -> Any:
        images = entities.image[torch.stack([pairs.first, pairs.second])]
        assert torch.equal(images[0], images[1]), "the entities of a pair are in one image"
        chunks.append(images[0].tolist())
        return score(maps, entities, encoded, pairs)

    head.encode_entities, head.predicate_logits = encoded_once, scored
    inputs = [make_input(count, [], seed=count) for count in (3, 1, 4)]
    together = model(inputs)
    (batch,) = batches
    assert batch.counts == [3, 1, 4]
    assert chunks[0] == [0, 0, 2, 2] and all(chunk == sorted(chunk) for chunk in chunks)
    for one, x in zip(together, inputs, strict=True):
        (alone,) = model([x])
        for name, value in alone["relations"].get_fields().items():
            torch.testing.assert_close(one["relations"].get(name), value, rtol=1e-5, atol=1e-7)


# --- scores and early stopping


class Unbounded(ByClasses):
    """Values above 1: each pair's best predicate has a value that grows with its rows."""

    stops_early = False

    def predicate_logits(self, relation_features: Any, entities: Any, encoded: Tensor, pairs: Any) -> Tensor:
        wide = (pairs.subject + 2 * pairs.object).float()[:, None]
        return wide.expand(-1, self.num_predicates + 1)

    def predicate_probabilities(self, logits: Tensor) -> Tensor:
        return logits[:, : self.num_predicates] * 10


def test_a_head_with_unbounded_scores_has_all_pairs_ranked(tiny_config: TinyConfig) -> None:
    options = ["MODEL.ROI_RELATION_HEAD.TEST.TOP_K", "3", "MODEL.ROI_RELATION_HEAD.TEST.CHUNK_SIZE", "2"]
    model = make(tiny_config, Unbounded, *options)
    model.eval().task = "sgdet"
    inputs = make_input(6, [])
    scores = torch.linspace(1, 0.5, 6)
    fields = {"pred_boxes": inputs["instances"].gt_boxes, "pred_classes": inputs["instances"].gt_classes}
    detections = Instances(inputs["instances"].image_size, **fields, scores=scores)
    asked = Queries.from_rows(triplets=[(0, 1, 0)])
    found = model([{**inputs, "detections": detections, "queries": asked}])[0]["relations"]
    s, o = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    every = torch.where(s == o, 0.0, scores[s] * scores[o] * (s + 2 * o) * 10).flatten()
    best = found[found.rank_in_pair == 1]
    torch.testing.assert_close(best.scores[:3], every.topk(3).values)
    assert best.scores[0] > 1


# --- heads that break the contract


def refusal(tiny_config: TinyConfig, head: Callable[..., Any]) -> str:
    with pytest.raises(ValueError) as error:
        make(tiny_config, head)
    return str(error.value)


def test_a_missing_method_is_named(tiny_config: TinyConfig) -> None:
    class WithoutInference(RelationHead):
        def __init__(self, cfg: Any, input_shape: Any) -> None:
            super().__init__()

        def losses(self, *_: Any) -> dict[str, Tensor]:
            return {}

    message = refusal(tiny_config, WithoutInference)
    assert message.startswith("the relation head WithoutInference lacks inference()") and CONTRACT in message

    class WithoutLogits(PairwiseRelationHead[Tensor]):
        def encode_entities(self, features: Any, entities: Any) -> Tensor:
            return entities.scores  # type: ignore[no-any-return]

    assert "lacks predicate_logits()" in refusal(tiny_config, WithoutLogits)


def test_a_module_that_is_no_relation_head_is_refused(tiny_config: TinyConfig) -> None:
    message = refusal(tiny_config, lambda cfg, shape: nn.Linear(1, 1))
    assert message.startswith("the relation head Linear is not derived from") and CONTRACT in message
    assert "lacks inference(), losses()" in message
    with pytest.raises(ValueError, match="is not derived"):
        check_relation_head(None)


def test_an_unknown_name_is_refused(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match=r"NAME is 'NoHead', but registered are .*RelDNHead.*--import"):
        build_model(tiny_config(NAME, "NoHead"))


def changed(head: RelationHead, change: Callable[[dict[str, Any]], object]) -> None:
    """Lets a head return something else."""
    right = head.inference

    def wrong(*args: Any, **kwargs: Any) -> Any:
        results = right(*args, **kwargs)
        change(results[0])
        return results

    head.inference = wrong  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("relations"), "returned no 'relations' of an image"),
        (lambda x: x.pop("pair_answers"), "returned no 'pair_answers' of an image"),
        (lambda x: x.pop("triplet_answers"), "returned no 'triplet_answers' of an image"),
        (lambda x: x["relations"].remove("rank_in_pair"), "returned 'relations' without rank_in_pair"),
        (
            lambda x: x["pair_answers"].remove("predicate_probs"),
            "returned 'pair_answers' without predicate_probs",
        ),
        (lambda x: x["triplet_answers"].remove("scores"), "returned 'triplet_answers' without scores"),
        (lambda x: x.update(pair_answers=x["pair_answers"][[0]]), "returned 1 'pair_answers' to 2 queries"),
    ],
)
def test_results_of_another_form_are_refused(
    change: Callable[[dict[str, Any]], object], message: str, tiny_config: TinyConfig
) -> None:
    model = make(tiny_config, ByClasses)
    changed(model.relation_head, change)
    with pytest.raises(
        ValueError, match=rf"ByClasses\.inference\(\) \({CONTRACT}\) {re.escape(message)}|{message}"
    ):
        answer(model, "prdcls", ASKED)


def test_considered_may_be_missing(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses)
    expected = answer(model, "prdcls", ASKED)["triplet_answers"]
    changed(model.relation_head, lambda x: x["triplet_answers"].remove("considered"))
    found = answer(model, "prdcls", ASKED)["triplet_answers"]
    assert torch.equal(found.scores, expected.scores) and found.detected.all()


@pytest.mark.parametrize(
    ("refine", "message"),
    [
        (lambda x: x.of_image(0), "rows must stay"),
        (lambda x: replace(x, scores=x.scores[:-1]), "rows must stay"),
        (lambda x: replace(x, boxes=x.boxes + 1), "changed the boxes in sgcls"),
    ],
)
def test_refined_entities_of_another_form_are_refused(
    refine: Callable[[Any], Any], message: str, tiny_config: TinyConfig
) -> None:
    model = make(tiny_config, ByClasses)
    model.relation_head.refine_entities = lambda features, x, task: refine(x)  # type: ignore[assignment,misc,method-assign]
    model.eval().task = "sgcls"
    with pytest.raises(ValueError, match=message):
        model([make_input(4, []), make_input(3, [], seed=1)])


def test_refined_boxes_that_are_not_finite_are_refused(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses)
    model.relation_head.refine_entities = lambda features, x, task: replace(x, boxes=x.boxes / 0)  # type: ignore[assignment,misc,method-assign]
    model.eval().task = "sgdet"
    with pytest.raises(ValueError, match=r"refine_entities\(\) .* returned boxes that are infinite or NaN"):
        model([make_input(4, [])])


def test_parts_that_are_not_there_are_refused(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses)
    detector = {k: v for k, v in model.state_dict().items() if "relation" not in k}
    head: Any = model.relation_head
    head.detector_copies = lambda: [DetectorCopy(nn.Linear(1, 1), "box_head")]
    with pytest.raises(ValueError, match="names a Linear that is not in it"):
        model.load_state_dict(detector, strict=False)
    head.detector_copies = lambda: [DetectorCopy(head.labels, "mask_head")]
    with pytest.raises(
        ValueError, match="copy of the detector's 'mask_head': write one of box_head, classifier"
    ):
        model.load_state_dict(detector, strict=False)


class WithoutBackground(ByClasses):
    """Logits of the predicates alone."""

    def predicate_logits(self, relation_features: Any, entities: Any, encoded: Tensor, pairs: Any) -> Tensor:
        return super().predicate_logits(relation_features, entities, encoded, pairs)[:, :-1]


def test_logits_without_a_background_are_refused(tiny_config: TinyConfig) -> None:
    weights = [f"MODEL.ROI_RELATION_HEAD.LOSS.{x}.WEIGHT" for x in ("CLASS_AGNOSTIC", "ENTITY_CLASS")]
    weights.append("MODEL.ROI_RELATION_HEAD.LOSS.PREDICATE_CLASS.WEIGHT")
    model = make(tiny_config, WithoutBackground, *(x for key in weights for x in (key, "0.0")))
    message = r"WithoutBackground\.predicate_logits\(\) .* returned \(\d+, 7\), not \(M, 8\)"
    with EventStorage(), pytest.raises(ValueError, match=message):
        model.train()([make_input(4, [(0, 1, 2)])])
    with pytest.raises(ValueError, match=message):
        answer(model, "prdcls", ASKED)


@pytest.mark.parametrize(
    ("refine", "message"),
    [
        (lambda x: None, "returned a NoneType, not an EntityBatch"),
        (lambda x: replace(x, scores=x.scores[:, None]), "returned scores of"),
        (lambda x: replace(x, classes=torch.rand(len(x), 6)), "returned classes of"),
        (lambda x: replace(x, classes=x.scores), "not integers"),
    ],
)
def test_refined_entities_of_other_types_are_refused(
    refine: Callable[[Any], Any], message: str, tiny_config: TinyConfig
) -> None:
    model = make(tiny_config, ByClasses)
    head: Any = model.relation_head
    head.refine_entities = lambda features, x, task: refine(x)
    model.eval().task = "sgcls"
    with pytest.raises(ValueError, match=message):
        model([make_input(4, [])])


def test_entities_that_were_edited_in_place_are_those_of_the_result(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses)
    head: Any = model.relation_head

    def refine(_: Any, entities: Any, task: str) -> Any:
        entities.classes.fill_(2)
        return entities

    head.refine_entities = refine
    model.eval().task = "sgcls"
    for output in model([make_input(4, []), make_input(3, [], seed=1)]):
        assert (output["instances"].pred_classes == 2).all()


# --- what surrounds a head


def test_a_predicate_backbone_that_the_head_does_not_read_is_dropped(tiny_config: TinyConfig) -> None:
    own, foreign = build_model(tiny_config()), make(tiny_config, ByClasses)
    parts = {
        "backbone": own.backbone,
        "proposal_generator": own.proposal_generator,
        "roi_heads": own.roi_heads,
        "pixel_mean": [0.0] * 3,
        "pixel_std": [1.0] * 3,
    }
    model = RelDN(**parts, relation_backbone=own.relation_backbone, relation_head=foreign.relation_head)
    assert model.relation_backbone is None
    with pytest.raises(
        ValueError, match=r"RelDNHead reads feature maps of a predicate backbone, but .* is None"
    ):
        RelDN(**parts, relation_backbone=None, relation_head=own.relation_head)


class WithNorm(ByClasses):
    """A layer normalisation of its own, and one in what starts as a copy of the detector."""

    def __init__(self, cfg: Any, input_shape: Any) -> None:
        super().__init__(cfg, input_shape)
        self.own_norm = nn.LayerNorm(4)
        self.labels = nn.Sequential(nn.LayerNorm(4))  # type: ignore[assignment]


def test_only_norms_of_copies_are_frozen(tiny_config: TinyConfig) -> None:
    head: Any = make(tiny_config, WithNorm).train().relation_head
    assert head.own_norm.weight.requires_grad and head.own_norm.training
    assert not head.labels[0].weight.requires_grad and not head.labels[0].training


def test_copies_are_made_from_a_checkpoint_of_another_head(tiny_config: TinyConfig) -> None:
    own = {k: v + 1 for k, v in build_model(tiny_config()).state_dict().items()}
    model = make(tiny_config, ByClasses)
    model.load_state_dict(own, strict=False)
    head: Any = model.relation_head
    assert torch.equal(head.labels.weight, own["roi_heads.box_predictor.cls_score.weight"])
    # A checkpoint of this head is not completed.
    weights = {k: v for k, v in model.state_dict().items() if "labels" not in k}
    assert (
        "relation_head.labels.weight"
        in make(tiny_config, ByClasses).load_state_dict(weights, strict=False)[0]
    )


@pytest.mark.parametrize("task", ["prdcls", "sgcls"])
def test_a_frozen_head_is_evaluated_with_its_weights(
    task: str, tiny_config: TinyConfig, tmp_path: Any
) -> None:
    class Frozen(ByClasses):
        def __init__(self, cfg: Any, input_shape: Any) -> None:
            super().__init__(cfg, input_shape)
            self.requires_grad_(False)

    model = make(tiny_config, Frozen)
    name = next(key for key, kind in ROI_RELATION_HEAD_REGISTRY if kind is Frozen)
    vocabulary = vocabulary_of(tiny_config().DATASETS.TRAIN[0])
    RelationCheckpointer(model, str(tmp_path), vocabulary=vocabulary).save("frozen")
    keys = [
        NAME,
        name,
        "MODEL.WEIGHTS",
        str(tmp_path / "frozen.pth"),
        "MODEL.ROI_RELATION_HEAD.TEST.TASK",
        task,
    ]
    torch.manual_seed(5)
    loaded: Any = load_model(tiny_config(*keys))
    assert torch.equal(loaded.relation_head.scores.weight, model.relation_head.scores.weight)
    weights = torch.load(tmp_path / "frozen.pth", weights_only=True)
    del weights["model"]["relation_head.scores.weight"], weights["sha256"]
    torch.save(weights, tmp_path / "frozen.pth")
    with pytest.raises(ValueError, match=r"lacks 1 parameters of the model, .*scores\.weight"):
        load_model(tiny_config(*keys))


def test_detections_for_some_images_of_a_batch_are_refused(tiny_config: TinyConfig) -> None:
    model = make(tiny_config, ByClasses).eval()
    model.task = "sgdet"
    truth = make_input(2, [])["instances"]
    fields = {"pred_boxes": truth.gt_boxes, "pred_classes": truth.gt_classes, "scores": torch.ones(2)}
    found = Instances(truth.image_size, **fields)
    with pytest.raises(ValueError, match="1 of 2 inputs of a batch have 'detections'"):
        model([{**make_input(2, []), "detections": found}, make_input(2, [])])


# --- RelDN's own head


def test_paths_for_importers_are_those_of_the_layers(tiny_config: TinyConfig) -> None:
    head = build_model(tiny_config()).relation_head
    names = set(head.state_dict())
    for path in RelDNHead.LAYER_PATHS.values():
        assert any(name == path or name.startswith(f"{path}.") for name in names), path
