"""RelDN as a whole, at reduced width with random weights."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from reldn_d2.modeling import PublishedPairSampler, RelDN
from reldn_d2.modeling.relation_head.modules import EntityTerms
from reldn_d2.structures import EntityBatch, Pairs, Queries
from tests.builders.tiny_models import TinyConfig, make_input, make_model

HEAD = "MODEL.ROI_RELATION_HEAD"
ALL_LOSSES = {
    "loss_rel_cross_entropy",
    "loss_rel_class_agnostic",
    "loss_rel_entity_class",
    "loss_rel_predicate_class",
}
RELATED = [(0, 1, 2), (2, 1, 0), (0, 3, 2), (0, 1, 5)]


def losses_of(model, inputs):
    model.train()
    torch.manual_seed(1)
    with EventStorage(0):
        return model(inputs)


def detections(*rows):
    """Detections given beforehand: (x0, y0, x1, y1, score, class)."""
    table = torch.tensor(rows).reshape(-1, 6)
    found = Instances((96, 96))
    found.pred_boxes, found.scores, found.pred_classes = Boxes(table[:, :4]), table[:, 4], table[:, 5].long()
    return found


def test_training_step_trains_the_relation_stage_and_nothing_else(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = losses_of(model, [make_input(5, RELATED), make_input(4, [(1, 0, 3)], seed=1)])
    assert set(losses) == ALL_LOSSES
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        trained = name.startswith("relation_") and "log_prior" not in name and ".norm" not in name
        trained = trained and "bn" not in name
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1).step()
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("relation_") for name in changed)
    assert "relation_head.pair_classifier.visual.fuse.weight" in changed
    assert any(name.startswith("relation_backbone.bottom_up.res2") for name in changed)


def test_detector_and_norms_stay_in_eval_mode(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config()).train()
    assert model.training and model.relation_head.training
    assert not model.backbone.training and not model.roi_heads.training
    norms = [m for m in model.relation_backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    free = make_model(tiny_config(f"{HEAD}.FREEZE_NORM", "False")).train()
    assert all(
        m.training and m.weight.requires_grad
        for m in free.relation_backbone.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    )


@pytest.mark.parametrize(
    "batch",
    [
        [make_input(0, [])],
        [make_input(1, [])],
        [make_input(0, []), make_input(1, []), make_input(3, [])],
        [make_input(4, []), make_input(2, [(0, 1, 0)], seed=1), make_input(0, [])],
    ],
    ids=["no entity", "one entity", "no relation in the batch", "mixed"],
)
def test_degenerate_batches_reach_every_parameter(tiny_config: TinyConfig, batch) -> None:
    """Every trained parameter gets a gradient, even without pairs. Distributed training needs this."""
    model = make_model(tiny_config())
    for inputs in batch:
        inputs["detections"] = detections()
    losses = losses_of(model, batch)
    assert set(losses) == ALL_LOSSES
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    if all(len(x["relations"]) == 0 for x in batch):
        assert all(losses[name] == 0 for name in ALL_LOSSES - {"loss_rel_cross_entropy"})


SWITCHES = [
    "SEMANTIC.ENABLED",
    "SPATIAL.ENABLED",
    "VISUAL.FUSED",
    "VISUAL.SUBJECT_SKIP",
    "VISUAL.OBJECT_SKIP",
]


@pytest.mark.parametrize("on", list(itertools.product([True, False], repeat=5)), ids=str)
def test_every_combination_of_modules(tiny_config: TinyConfig, on: tuple[bool, ...]) -> None:
    options = [str(x) for key, value in zip(SWITCHES, on, strict=True) for x in (f"{HEAD}.{key}", value)]
    cfg = tiny_config(*options)
    if not any(on):
        with pytest.raises(ValueError, match="all switched off"):
            make_model(cfg)
        return
    model = make_model(cfg)
    assert (model.relation_backbone is not None) == on[2]
    inputs = make_input(4, RELATED)
    inputs["detections"] = detections()
    loss = sum(losses_of(model, [inputs]).values())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert bool(trained) == any(on[1:])
    if trained:
        loss.backward()
        assert all(p.grad is not None for p in trained)
    model.eval()
    model.task = "prdcls"
    assert len(model([inputs])[0]["relations"]) == 4 * 3 * 7


def test_a_loss_of_weight_zero_is_not_computed(tiny_config: TinyConfig) -> None:
    keys = {
        "CROSS_ENTROPY_WEIGHT": "loss_rel_cross_entropy",
        "CLASS_AGNOSTIC.WEIGHT": "loss_rel_class_agnostic",
        "ENTITY_CLASS.WEIGHT": "loss_rel_entity_class",
        "PREDICATE_CLASS.WEIGHT": "loss_rel_predicate_class",
    }
    for key, name in keys.items():
        losses = losses_of(make_model(tiny_config(f"{HEAD}.LOSS.{key}", "0.0")), [make_input(5, RELATED)])
        assert set(losses) == ALL_LOSSES - {name}


def test_published_sampling_trains_on_proposals(tiny_config: TinyConfig) -> None:
    model = make_model(
        tiny_config(f"{HEAD}.SAMPLING.METHOD", "published", f"{HEAD}.LOSS.NORMALIZATION", "published")
    )
    losses = losses_of(model, [make_input(5, RELATED), make_input(0, [], seed=1)])
    assert set(losses) == ALL_LOSSES and all(torch.isfinite(x) for x in losses.values())
    assert losses["loss_rel_cross_entropy"] > 0


def proposals_of(model: RelDN, inputs: list[dict[str, Any]]) -> list[int]:
    """How many proposals of the RPN each image of a training step has."""
    counts: list[int] = []
    heads: Any = model.roi_heads
    right = heads.label_and_sample_proposals

    def counting(proposals: list[Instances], truth: list[Instances]) -> Any:
        counts.extend(len(found) for found in proposals)
        return right(proposals, truth)

    heads.label_and_sample_proposals = counting
    losses_of(model, inputs)
    return counts


@pytest.mark.parametrize(
    ("limits", "most"), [({"POST_NMS_TOPK_TRAIN": 40}, 40), ({"PRE_NMS_TOPK_TRAIN": 9}, None)], ids=str
)
def test_published_sampling_has_the_training_limits_of_the_frozen_rpn(
    tiny_config: TinyConfig, limits: dict[str, int], most: int | None
) -> None:
    train = {"PRE_NMS_TOPK_TRAIN": 2000, "POST_NMS_TOPK_TRAIN": 1000, **limits}
    test = {"PRE_NMS_TOPK_TEST": 8, "POST_NMS_TOPK_TEST": 3, "NMS_THRESH": 1.0}
    options = [x for key, value in {**train, **test}.items() for x in (f"MODEL.RPN.{key}", str(value))]
    model = make_model(tiny_config(f"{HEAD}.SAMPLING.METHOD", "published", *options))
    found = proposals_of(model, [make_input(5, RELATED), make_input(3, [], seed=1)])
    generator: Any = model.proposal_generator
    if most is None:  # of each level, but empty boxes are dropped
        levels = len(generator.in_features)
        assert all(9 * (levels - 1) < count <= 9 * levels for count in found)
    else:
        assert found == [most] * 2
    # It stays frozen, in eval mode, and inference has the limits of tests.
    assert not any(module.training for module in generator.modules())
    assert generator.pre_nms_topk[False] == 8 and generator.post_nms_topk[False] == 3
    assert generator.pre_nms_topk[True] == train["PRE_NMS_TOPK_TRAIN"]


def test_limits_are_restored_after_an_error(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.SAMPLING.METHOD", "published"))
    generator: Any = model.proposal_generator
    before = dict(generator.post_nms_topk)

    def failing(*_: Any) -> None:
        assert generator.post_nms_topk[False] == before[True] != before[False]
        raise MemoryError("of this test")

    generator.predict_proposals = failing
    with pytest.raises(MemoryError, match="of this test"):
        losses_of(model, [make_input(2, [])])
    assert generator.post_nms_topk == before


def test_published_sampling_needs_a_proposal_generator(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.SAMPLING.METHOD", "published"))
    model.proposal_generator = None
    with pytest.raises(ValueError, match=r"no proposal generator .*set .*SAMPLING\.METHOD to 'paper'"):
        losses_of(model, [make_input(2, [])])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("paper", "entities_from_proposals is True, .* PublishedPairSampler, but RelDNHead.* a PairSampler"),
        ("published", "entities_from_proposals is False, .* PairSampler, but .* a PublishedPairSampler"),
    ],
)
def test_the_two_sampling_methods_can_t_be_mixed(tiny_config: TinyConfig, method: str, message: str) -> None:
    arguments = RelDN.from_config(tiny_config(f"{HEAD}.SAMPLING.METHOD", method))
    arguments["entities_from_proposals"] = method == "paper"
    with pytest.raises(ValueError, match=message):
        RelDN(**arguments)


@pytest.mark.parametrize("foreground", [16, 4])
def test_published_entities_are_proposals_and_then_the_ground_truth(
    tiny_config: TinyConfig, foreground: int
) -> None:
    """The whole ground truth, also if sampling has dropped some of it from the proposals."""
    options = [f"{HEAD}.SAMPLING.METHOD", "published", "MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0"]
    model = make_model(tiny_config(*options, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", str(foreground)))
    inputs = [make_input(6, RELATED), make_input(0, [], seed=1)]
    seen = []
    head: Any = model.relation_head
    head.sample_pairs = lambda *arguments: seen.append(arguments) or PublishedPairSampler()(*arguments)
    losses_of(model, inputs)
    ((entities, matched, _, num_ground_truth),) = seen
    truth = inputs[0]["instances"]
    assert num_ground_truth == [6, 0] and entities.counts[1] == 0
    assert 6 + min(foreground, 6) <= entities.counts[0] <= 6 + foreground
    assert torch.equal(entities.boxes[-6:], truth.gt_boxes.tensor)
    assert torch.equal(entities.classes, truth.gt_classes[matched])
    assert matched[-6:].tolist() == list(range(6)) and (entities.scores == 1).all()
    iou = pairwise_iou(Boxes(entities.boxes), truth.gt_boxes)
    assert (iou.amax(dim=1) >= 0.5).all()


def test_the_semantic_table_reads_the_classes_of_the_roles(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    classifier = model.relation_head.pair_classifier
    for part in ("visual", "spatial"):
        setattr(classifier, part, None)
    boxes = torch.tensor([[0.0, 0, 9, 9], [5, 5, 20, 20]])
    entities = EntityBatch.from_images(
        boxes=[boxes], classes=[torch.tensor([0, 1])], image_sizes=[(96, 96)], num_classes=6
    )
    pairs = Pairs.one_direction(torch.tensor([0, 1]), torch.tensor([1, 0]))
    terms = EntityTerms(None, None, None, None)
    table = classifier.semantic.log_prior
    plain = classifier(None, entities, terms, pairs)
    assert torch.equal(plain, torch.stack([table[0, 1], table[1, 0]]))
    in_roles = replace(pairs, subject_classes=torch.tensor([2, 3]), object_classes=torch.tensor([4, 5]))
    found = classifier(None, entities, terms, in_roles)
    assert torch.equal(found, torch.stack([table[2, 4], table[3, 5]]))


def test_half_precision_keeps_losses_in_full(tiny_config: TinyConfig) -> None:
    # Without the semantic table, because the sum would get its full precision.
    model = make_model(tiny_config(f"{HEAD}.SEMANTIC.ENABLED", "False"))
    precisions = []
    classifier = model.relation_head.pair_classifier
    classifier.register_forward_hook(lambda _, __, logits: precisions.append(logits.dtype))
    inputs = [make_input(5, RELATED)]
    inputs[0]["detections"] = detections()
    expected = losses_of(model, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses_of(model, inputs)
    assert precisions == [torch.float32] * 2
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=0.2, atol=0.05)
    sum(found.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_tasks(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TOP_K", "200")).eval()
    inputs = make_input(5, [(0, 1, 2), (3, 3, 1), (0, 1, 2)])
    truth = inputs["instances"]
    inputs["height"], inputs["width"] = 192, 48
    inputs["queries"] = Queries.from_rows(pairs=[(0, 1), (3, 3), (0, 1)])

    model.task = "prdcls"
    output = model([inputs])[0]
    assert output["instances"].image_size == (192, 48)
    scale = torch.tensor([0.5, 2.0, 0.5, 2.0])
    torch.testing.assert_close(output["instances"].pred_boxes.tensor, truth.gt_boxes.tensor * scale)
    assert output["instances"].pred_classes.tolist() == truth.gt_classes.tolist()
    assert output["instances"].scores.tolist() == [1.0] * 5
    relations = output["relations"]
    assert len(relations) == 5 * 4 * 7
    assert (relations.scores.diff() <= 0).all()
    assert (relations.subject_index != relations.object_index).all()
    assert relations.rank_in_pair.bincount()[1:].tolist() == [20] * 7

    pairs = output["pair_answers"]
    assert pairs.subject_index.tolist() == [0, 3, 0] and pairs.object_index.tolist() == [1, 3, 1]
    assert pairs.pair_scores.tolist() == [1.0] * 3
    for row in (relations.subject_index == 0).logical_and(relations.object_index == 1).nonzero()[:, 0]:
        expected = pairs.predicate_probs[0, relations.pred_predicates[row]]
        torch.testing.assert_close(relations.scores[row], expected)

    model.task = "sgcls"
    output = model([inputs])[0]
    torch.testing.assert_close(output["instances"].pred_boxes.tensor, truth.gt_boxes.tensor * scale)
    scores, classes = output["instances"].scores, output["instances"].pred_classes
    assert ((scores > 0) & (scores < 1)).all() and ((classes >= 0) & (classes < 6)).all()
    s, o = output["pair_answers"].subject_index, output["pair_answers"].object_index
    torch.testing.assert_close(output["pair_answers"].pair_scores, scores[s] * scores[o])

    model.task = "sgdet"
    inputs["detections"] = detections((1.0, 2.0, 30.0, 40.0, 0.9, 1), (10.0, 2.0, 50.0, 90.0, 0.5, 3))
    output = model([inputs])[0]
    assert set(output) == {"instances", "relations", "triplet_answers", "task"}
    assert output["instances"].scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(output["relations"]) == 2 * 7
    assert (output["relations"].scores <= 0.45 + 1e-6).all()


def test_relations_of_another_mapper_are_named(tiny_config: TinyConfig) -> None:
    """Detectron2's DatasetMapper leaves the relations as the dataset dict has them."""
    model = make_model(tiny_config())
    inputs = make_input(5, RELATED)
    inputs["relations"] = inputs["relations"].numpy()
    with pytest.raises(ValueError, match=r"are a ndarray, not a tensor.*RelationDatasetMapper"):
        losses_of(model, [inputs])


def test_tasks_with_given_boxes_need_them(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TASK", "sgcls")).eval()
    inputs = make_input(2, [])
    del inputs["instances"]
    with pytest.raises(ValueError, match="no 'instances'"):
        model([inputs])


@pytest.mark.parametrize("task", ["prdcls", "sgcls", "sgdet"])
@pytest.mark.parametrize("count", [0, 1])
def test_no_and_one_entity_give_no_relationship(tiny_config: TinyConfig, task: str, count: int) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TASK", task)).eval()
    inputs = make_input(count, [])
    inputs["detections"] = detections(*[(1.0, 2.0, 30.0, 40.0, 0.9, 1)] * count)
    output = model([inputs])[0]
    assert len(output["instances"]) == count and len(output["relations"]) == 0


def test_a_batch_gives_what_its_images_give(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TASK", "prdcls")).eval().double()
    batch = [make_input(4, RELATED), make_input(3, [(0, 1, 1)], seed=3, size=64)]
    for alone, together in zip([model([x])[0] for x in batch], model(batch), strict=True):
        # The smaller image is padded in the batch, which changes its features at the border; entities do not
        # move.
        torch.testing.assert_close(
            alone["instances"].pred_boxes.tensor, together["instances"].pred_boxes.tensor
        )
        assert len(alone["relations"]) == len(together["relations"])
    same = [make_input(4, RELATED), make_input(3, [(0, 1, 1)], seed=3)]
    for alone, together in zip([model([x])[0] for x in same], model(same), strict=True):
        a, b = alone["relations"], together["relations"]
        assert a.subject_index.tolist() == b.subject_index.tolist()
        assert a.pred_predicates.tolist() == b.pred_predicates.tolist()
        torch.testing.assert_close(a.scores, b.scores)


def test_early_stop_gives_the_exhaustive_answer(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config()).eval().double()
    inputs = make_input(0, [])
    rows = torch.rand(14, 6, generator=torch.Generator().manual_seed(0))
    rows[:, :2] *= 60
    rows[:, 2:4] = rows[:, :2] + 10 + rows[:, 2:4] * 20
    rows[:, 4] **= 4  # few confident entities, so that most pairs need not be scored
    rows[:, 5] = (rows[:, 5] * 6).floor()
    inputs["detections"] = detections(*rows.tolist())
    head = model.relation_head
    head.top_k = 10
    head.chunk_size = 1000
    expected = model([inputs])[0]["relations"]
    scored = []
    model.relation_head.pair_classifier.register_forward_hook(lambda _, args, __: scored.append(len(args[3])))
    for head.chunk_size in (1, 3, 16):
        scored.clear()
        found = model([inputs])[0]["relations"]
        assert sum(scored) < 14 * 13
        for name in ("subject_index", "object_index", "pred_predicates", "rank_in_pair"):
            assert found.get(name).tolist() == expected.get(name).tolist()
        torch.testing.assert_close(found.scores, expected.scores)


def test_overlap_filter_is_for_detected_entities(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.OVERLAP_ONLY", "True")).eval()
    inputs = make_input(0, [])
    boxes = [(0.0, 0.0, 20.0, 20.0), (10.0, 10.0, 30.0, 30.0), (60.0, 60.0, 80.0, 80.0)]
    inputs["detections"] = detections(*[(*box, 0.9, 1) for box in boxes])
    inputs["instances"] = Instances(
        (96, 96), gt_boxes=Boxes(torch.tensor(boxes)), gt_classes=torch.tensor([0, 1, 2])
    )
    found = model([inputs])[0]["relations"]
    assert set(zip(found.subject_index.tolist(), found.object_index.tolist(), strict=True)) == {
        (0, 1),
        (1, 0),
    }
    model.task = "prdcls"
    assert len(model([inputs])[0]["relations"]) == 6 * 7


def test_the_detector_is_not_run_if_its_features_are_not_needed(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No feature map is needed if entities are given and there is no visual module."""
    parts = [
        x for part in ("FUSED", "SUBJECT_SKIP", "OBJECT_SKIP") for x in (f"{HEAD}.VISUAL.{part}", "False")
    ]
    model = make_model(tiny_config(*parts)).eval()
    inputs = make_input(3, [(0, 1, 2)])

    def fail(*_: object) -> None:
        raise AssertionError("the backbone ran")

    monkeypatch.setattr(model.backbone, "forward", fail)
    model.task = "prdcls"
    assert len(model([inputs])[0]["relations"]) == 3 * 2 * 7
    for model.task in ("sgcls", "sgdet"):
        with pytest.raises(AssertionError, match="the backbone ran"):
            model([inputs])
    inputs["detections"] = detections((1.0, 2.0, 30.0, 40.0, 0.9, 1), (10.0, 2.0, 50.0, 90.0, 0.5, 3))
    assert len(model([inputs])[0]["relations"]) == 2 * 7
    assert set(losses_of(model, [inputs])) == ALL_LOSSES


def test_empty_detections_are_dropped_before_pairing(tiny_config: TinyConfig, monkeypatch) -> None:
    model = make_model(tiny_config()).eval()
    boxes = [(0.0, 0.0, 20.0, 20.0, 0.9, 1), (5.0, 5.0, 5.0, 9.0, 0.8, 1), (9.0, 9.0, 30.0, 30.0, 0.7, 2)]
    monkeypatch.setattr(model.roi_heads, "forward", lambda *_: ([detections(*boxes)], {}))
    output = model([make_input(0, [])])[0]
    assert output["instances"].scores.tolist() == pytest.approx([0.9, 0.7])
    assert output["relations"].subject_index.max() == 1


def test_unset_statistics_refuse_to_run_and_name_the_remedy(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config()).eval()
    with torch.no_grad():
        model.relation_head.pair_classifier.semantic.log_prior.fill_(float("nan"))
    model.relation_head.pair_classifier.semantic._known_to_be_set = False
    model.task = "prdcls"
    with pytest.raises(RuntimeError, match="set_predicate_statistics"):
        model([make_input(3, [])])


@pytest.mark.parametrize("key", ["TEST.TASK", "SAMPLING.METHOD", "LOSS.NORMALIZATION"])
def test_unknown_options_are_refused(tiny_config: TinyConfig, key: str) -> None:
    with pytest.raises(ValueError, match=f"{HEAD}.{key} is"):
        make_model(tiny_config(f"{HEAD}.{key}", "nonsense"))


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_outputs_say_their_task(tiny_config: TinyConfig, task: str) -> None:
    model = make_model(tiny_config(f"{HEAD}.TEST.TASK", task)).eval()
    inputs = [make_input(3, []), make_input(2, [], seed=1)]
    for postprocess in (True, False):
        assert [x["task"] for x in model.inference(inputs, do_postprocess=postprocess)] == [task, task]
