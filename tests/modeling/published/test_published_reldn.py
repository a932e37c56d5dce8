"""PublishedRelDN as a whole, at reduced width with random weights, against a slow version."""

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from reldn_d2.engine.yaml import is_relation_config
from reldn_d2.evaluation.matching import box_iou
from reldn_d2.modeling import PublishedRelDN, RelDN
from reldn_d2.modeling.published import PUBLISHED_PARTS, PUBLISHED_PIXELS
from reldn_d2.structures import Queries
from tests.builders.narrow_resnet import SCENES_RESNET
from tests.builders.tiny_models import TinyConfig, make_input, make_model
from tests.references.published import Box, SlowPublished, slow_level, slow_scale

MIN_SIZE, MAX_SIZE = 97, 140
MEANS = [102.9801, 115.9465, 122.7717]
HEAD = "MODEL.ROI_RELATION_HEAD"
PUBLISHED = [
    *("MODEL.META_ARCHITECTURE", "PublishedRelDN"),
    *(str(x) for part in PUBLISHED_PARTS.items() for x in part),
    *("MODEL.PIXEL_MEAN", str(MEANS), "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
    *("INPUT.MIN_SIZE_TEST", str(MIN_SIZE), "INPUT.MAX_SIZE_TEST", str(MAX_SIZE)),
    *("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[0.5, 1.0, 2.0]]"),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", "40", "MODEL.RPN.POST_NMS_TOPK_TEST", "15"),
    *("TEST.DETECTIONS_PER_IMAGE", "6"),
    *(f"{HEAD}.TEST.TOP_K", "5000"),
    *(f"{HEAD}.OVERLAP_ONLY", "True"),
]
FPN = [
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16], [24], [40], [80], [100]]"),
    *("MODEL.RPN.IN_FEATURES", "['p2', 'p3', 'p4', 'p5', 'p6']"),
    *("MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "2"),
]
VGG = [
    *("MODEL.BACKBONE.NAME", "build_reldn_vgg16_backbone", "MODEL.RELDN_VGG.CHANNELS", "[4, 4, 8, 8, 8]"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]"),
    *("MODEL.RPN.IN_FEATURES", "['conv5']", "MODEL.ROI_HEADS.IN_FEATURES", "['conv5']"),
    *("MODEL.ROI_BOX_HEAD.NAME", "RelDNVGGBoxHead", "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", "0"),
]
# (height, width) of images and of the network input. Their ratios are not whole numbers.
WIDE, LONG = ((61, 83), (97, 132)), ((97, 50), (140, 72))


@torch.no_grad()
def spread(model: RelDN, image: torch.Tensor) -> None:
    """Scales the last layers so that their outputs differ clearly and no rank depends on the last digits."""
    images = model.preprocess_image([{"image": image}])
    features = model.backbone(images.tensor)
    rpn, heads = model.proposal_generator, model.roi_heads
    maps = [features[name] for name in rpn.in_features]
    logits, deltas = rpn.rpn_head(maps)
    rpn.rpn_head.objectness_logits.weight.mul_(2 / torch.cat([x.flatten() for x in logits]).std())
    rpn.rpn_head.anchor_deltas.weight.mul_(0.2 / torch.cat([x.flatten() for x in deltas]).std())
    (proposals,), _ = rpn(images, features)
    maps = [features[name] for name in heads.in_features]
    scores, deltas = heads.box_predictor(heads.box_head(heads.box_pooler(maps, [proposals.proposal_boxes])))
    # Random features are similar. Their common part would decide the class of all boxes.
    common, factor = scores.mean(dim=0), 1.5 / (scores - scores.mean(dim=0)).std()
    heads.box_predictor.cls_score.weight.mul_(factor)
    heads.box_predictor.cls_score.bias.copy_(-common * factor)
    heads.box_predictor.bbox_pred.weight.mul_(2 / deltas.std())
    classifier = model.relation_head.pair_classifier
    visual, spatial = classifier.visual, classifier.spatial
    last = {visual: (visual.score[3], visual.subject_skip, visual.object_skip), spatial: (spatial.mlp[4],)}
    for module, layers in last.items():
        seen: list[torch.Tensor] = []
        hook = module.register_forward_hook(lambda _, __, logits, seen=seen: seen.append(logits.std()))
        model([{"image": image}])
        hook.remove()
        for layer in layers:
            layer.weight.mul_(2 / seen[0])


@pytest.fixture
def fpn(tiny_config: TinyConfig) -> PublishedRelDN:
    model = make_model(tiny_config(*SCENES_RESNET, *PUBLISHED, *FPN), seed=1).eval()
    spread(model, image_of(((97, 132), (97, 132))))
    return model


@pytest.fixture
def vgg(tiny_config: TinyConfig) -> PublishedRelDN:
    model = make_model(tiny_config(*PUBLISHED, *VGG), seed=1).eval()
    spread(model, image_of(((97, 132), (97, 132))))
    return model


def image_of(sizes: tuple[tuple[int, int], tuple[int, int]], seed: int = 0) -> torch.Tensor:
    """Coarse noise, because regions of fine noise would be too similar."""
    coarse = np.random.default_rng(seed).integers(0, 256, (1, 3, 9, 9)).astype(np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(coarse), sizes[1], mode="bilinear")[0]


def input_of(sizes: tuple[tuple[int, int], tuple[int, int]], seed: int = 0) -> dict[str, Any]:
    (height, width), _ = sizes
    return {"image": image_of(sizes, seed), "height": height, "width": width}


def slow(model: PublishedRelDN, x: dict[str, Any], **settings: Any) -> SlowPublished:
    pyramid = len(model.backbone.output_shape()) > 1
    return SlowPublished(
        model=model,
        image=x["image"],
        original=(x["height"], x["width"]),
        strides=[4, 8, 16, 32, 64] if pyramid else [16],
        sizes=[[16], [24], [40], [80], [100]] if pyramid else [[16, 32, 64]],
        ratios=[0.5, 1.0, 2.0],
        roi_maps=4 if pyramid else 1,
        padding=32 if pyramid else 0,
        settings={
            "mean": MEANS,
            "min_size": MIN_SIZE,
            "max_size": MAX_SIZE,
            "pre_nms": 40,
            "post_nms": 15,
            "rpn_nms": 0.7,
            "sampling_ratio": 2 if pyramid else 0,
            "score": 0.05,
            "nms": 0.5,
            "detections": 6,
            "classes": 6,
            "overlap_only": True,
            **settings,
        },
    )


def given(sizes: tuple[tuple[int, int], tuple[int, int]], boxes: list[Box], classes: list[int]) -> Instances:
    """Inclusive boxes of the image as the mapper gives them: as annotated, resized with the image."""
    original, network = sizes
    table = torch.tensor(boxes).reshape(-1, 4) * slow_scale(original, MIN_SIZE, MAX_SIZE)
    return Instances(network, gt_boxes=Boxes(table), gt_classes=torch.tensor(classes))


def check_entities(found: Instances, expected: list[tuple[float, int, Box]], size: tuple[int, int]) -> None:
    assert found.image_size == size
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes"}
    assert found.pred_classes.tolist() == [c for _, c, _ in expected]
    np.testing.assert_allclose(found.scores.numpy(), [s for s, _, _ in expected], rtol=1e-4)
    boxes = np.array([box for _, _, box in expected]).reshape(-1, 4)
    np.testing.assert_allclose(found.pred_boxes.tensor.numpy(), boxes, atol=2e-3)


def check_relations(found: Instances, expected: dict[tuple[int, int, int], float]) -> None:
    triplets = zip(
        found.subject_index.tolist(), found.object_index.tolist(), found.pred_predicates.tolist(), strict=True
    )
    scores = dict(zip(triplets, found.scores.tolist(), strict=True))
    assert scores.keys() == expected.keys()
    for triplet, score in expected.items():
        assert scores[triplet] == pytest.approx(score, rel=2e-3), triplet


@pytest.mark.parametrize(("kind", "seed"), [("fpn", 4), ("vgg", 3)])
@pytest.mark.parametrize("sizes", [WIDE, LONG], ids=["wide", "long"])
def test_sgdet_equals_the_slow_way(kind: str, seed: int, sizes, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    x = input_of(sizes, seed)
    (result,) = model([x])
    reference = slow(model, x)
    expected = reference.detections()
    assert len(expected) == 6 and len({c for _, c, _ in expected}) > 1
    if kind == "fpn":  # clipped to the padded input, in pixels of the image
        limits = reference.width / reference.scale - 1, reference.height / reference.scale - 1
        assert all(box[2] <= limits[0] and box[3] <= limits[1] for _, _, box in expected)
        assert any(box[2] > sizes[0][1] or box[3] > sizes[0][0] for _, _, box in expected)
    check_entities(result["instances"], expected, sizes[0])
    triplets = reference.triplets(expected)
    assert 0 < len(triplets) < 6 * 5 * 7  # some pairs overlap, some don't
    check_relations(result["relations"], triplets)


@pytest.mark.parametrize("kind", ["fpn", "vgg"])
def test_given_boxes_equal_the_slow_way(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    boxes = [(3.0, 4.0, 30.0, 20.0), (0.0, 0.0, 82.0, 60.0), (50.0, 41.0, 53.0, 59.0)]
    x = {**input_of(WIDE, 1), "instances": given(WIDE, boxes, [4, 0, 1])}
    reference = slow(model, x)
    assert slow_level(reference.region(boxes[1]), 2, 5) == 3  # only because a side has one more pixel

    model.task = "prdcls"
    (result,) = model([x])
    expected = [(1.0, c, box) for c, box in zip([4, 0, 1], boxes, strict=True)]
    check_entities(result["instances"], expected, WIDE[0])
    triplets = reference.triplets(expected, given=True)
    assert len(triplets) == 3 * 2 * 7  # all pairs, although the last box overlaps only the second
    check_relations(result["relations"], triplets)

    model.task = "sgcls"
    (result,) = model([x])
    scores = [reference.class_scores(reference.region(box))[0] for box in boxes]
    expected = [(s.max(), int(s.argmax()), box) for s, box in zip(scores, boxes, strict=True)]
    check_entities(result["instances"], expected, WIDE[0])
    check_relations(result["relations"], reference.triplets(expected, given=True))
    assert x["instances"].image_size == WIDE[1]


def test_precomputed_detections_equal_the_slow_way(fpn: PublishedRelDN) -> None:
    boxes = [(3.0, 4.0, 30.0, 20.0), (10.5, 0.25, 82.0, 60.0), (5.0, 41.0, 7.0, 59.0)]
    same = given(WIDE, boxes, [4, 0, 1])
    detections = Instances(
        WIDE[1],
        pred_boxes=same.gt_boxes,
        scores=torch.tensor([0.9, 0.03, 0.5]),  # below the threshold, but given detections are all kept
        pred_classes=same.gt_classes,
    )
    x = {**input_of(WIDE), "detections": detections}
    (result,) = fpn([x])
    expected = list(zip([0.9, 0.03, 0.5], [4, 0, 1], boxes, strict=True))
    check_entities(result["instances"], expected, WIDE[0])
    triplets = slow(fpn, x).triplets(expected)
    assert {(i, j) for i, j, _ in triplets} == {(0, 1), (1, 0)}
    check_relations(result["relations"], triplets)
    assert set(detections.get_fields()) == {"pred_boxes", "scores", "pred_classes"}

    (none,) = fpn([{**x, "detections": detections[:0]}])
    assert len(none["instances"]) == len(none["relations"]) == 0


@pytest.mark.parametrize(
    ("background", "seed", "least", "count"), [(9, 1, 0.03, 2), (10, 0, 0.0, 6), (8, 0, 0.02, 1)]
)
def test_the_threshold_falls_until_there_is_a_pair(
    fpn: PublishedRelDN, background: float, seed: int, least: float, count: int
) -> None:
    """All boxes are pushed towards the background, so that no pair is left at 0.05."""
    with torch.no_grad():
        fpn.roi_heads.box_predictor.cls_score.bias[-1] += background
    x = input_of(WIDE, seed)
    reference = slow(fpn, x)
    expected = reference.detections()
    assert len(expected) == count and least < min(s for s, _, _ in expected) < least + 0.01
    (result,) = fpn([x])
    check_entities(result["instances"], expected, WIDE[0])
    check_relations(result["relations"], reference.triplets(expected))
    # Without the filter any two boxes are a pair.
    fpn.relation_head.overlap_only = False
    (result,) = fpn([x])
    check_entities(result["instances"], slow(fpn, x, overlap_only=False).detections(), WIDE[0])


def test_the_only_detection_is_paired_with_itself(fpn: PublishedRelDN) -> None:
    """The threshold does not fall, although lower ones would find more."""
    with torch.no_grad():
        fpn.roi_heads.box_predictor.cls_score.bias[-1] += 7
    x = input_of(WIDE)
    reference = slow(fpn, x)
    expected = reference.detections()
    assert len(expected) == 1 and expected[0][0] > 0.05
    (result,) = fpn([x])
    check_entities(result["instances"], expected, WIDE[0])
    relations = result["relations"]
    assert relations.rank_in_pair.tolist() == list(range(1, 8))
    assert (relations.scores.diff() <= 0).all()
    check_relations(relations, reference.triplets(expected))
    assert {(s, o) for s, o, _ in reference.triplets(expected)} == {(0, 0)}
    torch.testing.assert_close(relations.scores, relations.predicate_scores * expected[0][0] ** 2)

    # A given box has no relationship, and neither has an image with two detections one with itself.
    fpn.task = "prdcls"
    (alone,) = fpn([{**x, "instances": given(WIDE, [(3.0, 4.0, 30.0, 20.0)], [4])}])
    assert len(alone["instances"]) == 1 and len(alone["relations"]) == 0


def test_pairs_of_boxes_that_share_a_pixel_are_considered(vgg: PublishedRelDN) -> None:
    """Boxes that share a pixel: 10 to 20 and 20 to 30 by first and last pixel, 10 to 20 and 21 to 30 not."""
    head = vgg.relation_head
    sharing = torch.tensor([[10.0, 10, 21, 21], [20, 20, 31, 31]])
    apart = torch.tensor([[10.0, 10, 21, 21], [21, 10, 31, 21]])
    assert head.has_pair(sharing) and not head.has_pair(apart)
    assert head.has_pair(sharing[:1]) and not head.has_pair(sharing[:0])  # one box is paired with itself
    head.overlap_only = False
    assert head.has_pair(apart) and head.has_pair(apart[:1]) and not head.has_pair(apart[:0])


def test_a_batch_is_done_image_by_image(fpn: PublishedRelDN) -> None:
    inputs = [input_of(WIDE), input_of(LONG, 1), input_of(WIDE, 2)]
    together = fpn(inputs)
    alone = [fpn([x])[0] for x in inputs]
    assert [r["instances"].image_size for r in together] == [WIDE[0], LONG[0], WIDE[0]]
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor)
        assert torch.equal(a["relations"].scores, b["relations"].scores)
    assert fpn([]) == []


def test_boxes_can_be_returned_in_the_network_input(vgg: PublishedRelDN) -> None:
    x = input_of(WIDE)
    (image,), (network,) = vgg.inference([x]), vgg.inference([x], do_postprocess=False)
    torch.testing.assert_close(
        network["instances"].pred_boxes.tensor, image["instances"].pred_boxes.tensor * (97 / 61)
    )
    assert network["instances"].image_size == network["relations"].image_size == WIDE[1]
    assert torch.equal(network["relations"].scores, image["relations"].scores)


def test_an_input_without_the_size_of_the_image_is_the_image(vgg: PublishedRelDN) -> None:
    x = {"image": image_of(((97, 132), (97, 132)))}
    (result,) = vgg([x])
    assert result["instances"].image_size == (97, 132)
    assert torch.equal(
        result["relations"].scores, vgg([{**x, "height": 97, "width": 132}])[0]["relations"].scores
    )


def test_queries_are_answered(vgg: PublishedRelDN) -> None:
    x = input_of(WIDE)
    (detected,) = vgg([x])
    found = detected["instances"]
    # Ground truth like the first detections: entities are matched in pixels of the image.
    truth = given(WIDE, found.pred_boxes.tensor.tolist(), found.pred_classes.tolist())
    best = detected["relations"]
    s, o, p = (int(best.get(k)[0]) for k in ("subject_index", "object_index", "pred_predicates"))
    x = {**x, "instances": truth, "queries": Queries.from_rows(triplets=[(s, o, p)])}
    assert pairwise_iou(found.pred_boxes, found.pred_boxes).fill_diagonal_(0).max() < 0.95
    (asked,) = vgg([x])
    assert asked["triplet_answers"].detected.tolist() == [True]
    torch.testing.assert_close(asked["triplet_answers"].scores, best.scores[:1])

    vgg.task = "prdcls"
    (pairs,) = vgg([{**x, "queries": Queries.from_rows(pairs=[(s, o), (o, s)])}])
    by_triplet = {
        (a, b, c): score
        for a, b, c, score in zip(
            *(
                pairs["relations"].get(k).tolist()
                for k in ("subject_index", "object_index", "pred_predicates", "scores")
            ),
            strict=True,
        )
    }
    probs = pairs["pair_answers"].predicate_probs
    assert probs[0, p].item() == pytest.approx(by_triplet[s, o, p], rel=1e-5)
    assert probs[1, p].item() == pytest.approx(by_triplet[o, s, p], rel=1e-5)
    with pytest.raises(ValueError, match="no 'instances'"):
        vgg([input_of(WIDE)])


def test_degenerate_annotations_give_finite_scores(vgg: PublishedRelDN) -> None:
    """The mapper keeps every annotation, also one without area."""
    vgg.task = "prdcls"
    truth = given(WIDE, [(3.0, 4.0, 2.0, 20.0), (0.0, 0.0, 82.0, 60.0)], [1, 2])
    (result,) = vgg([{**input_of(WIDE), "instances": truth}])
    assert len(result["relations"]) == 2 * 7 and result["relations"].scores.isfinite().all()
    # What is thinner than a pixel is reported as the pixel where it begins.
    torch.testing.assert_close(result["instances"].pred_boxes.tensor[0], torch.tensor([3.0, 4, 3, 20]))


def test_boxes_as_annotated_give_their_pixels_and_come_back(vgg: PublishedRelDN) -> None:
    """In an image of 320 x 240 at 224 / 240 pixels 50-149 and 100-199 are pooled up to 185.73 and 139.07."""
    vgg.min_size, vgg.max_size, vgg.task = 224, 352, "prdcls"
    annotated, scale = torch.tensor([[100.0, 50, 199, 149], [0, 0, 319, 239]]), 224 / 240
    seen: list[torch.Tensor] = []

    def watch(_: Any, given: Any) -> None:
        seen.append(given[1][0].tensor)

    hook = vgg.relation_head.pair_classifier.pooler.register_forward_pre_hook(watch)
    truth = Instances((224, 299), gt_boxes=Boxes(annotated * scale), gt_classes=torch.tensor([1, 2]))
    (result,) = vgg([{"image": torch.zeros(3, 224, 299), "height": 240, "width": 320, "instances": truth}])
    hook.remove()
    torch.testing.assert_close(result["instances"].pred_boxes.tensor, annotated)
    corners = [tuple(round(x, 2) for x in box[2:].tolist()) for boxes in seen for box in boxes]
    assert (185.73, 139.07) in corners


def test_reported_boxes_score_as_annotated_ones(vgg: PublishedRelDN) -> None:
    """Pixels 10-29 and 10-49 overlap by half, so a relation of the second box is a hit."""
    truth = np.array([[10.0, 10, 29, 29]])
    given_box = Instances(
        WIDE[1],
        pred_boxes=Boxes(torch.tensor([[10.0, 10, 49, 29]]) * slow_scale(WIDE[0], MIN_SIZE, MAX_SIZE)),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([1]),
    )
    (result,) = vgg([{**input_of(WIDE), "detections": given_box}])
    reported = result["instances"].pred_boxes.tensor.numpy()
    assert box_iou(reported.round(3), truth, offset=1.0) == pytest.approx(0.5)


def test_an_image_resized_in_another_way_is_refused(vgg: PublishedRelDN) -> None:
    with pytest.raises(ValueError, match=r"\(50, 83\) came as \(97, 132\).*MIN_SIZE_TEST"):
        vgg([{**input_of(WIDE), "height": 50}])


def test_weights_are_those_of_reldn(tiny_config: TinyConfig) -> None:
    plain, published = make_model(tiny_config(*FPN)), build_model(tiny_config(*PUBLISHED, *FPN))
    assert type(plain) is RelDN and type(published) is PublishedRelDN
    published.load_state_dict(plain.state_dict(), strict=True)


@pytest.mark.parametrize("key", sorted(PUBLISHED_PARTS))
def test_parts_that_do_not_belong_together_are_refused(tiny_config: TinyConfig, key: str) -> None:
    default = tiny_config()
    value: Any = default
    for name in key.split("."):
        value = value[name]
    with pytest.raises(ValueError, match=f"PublishedRelDN needs {key} {PUBLISHED_PARTS[key]}$"):
        build_model(tiny_config(*PUBLISHED, *FPN, key, str(value)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]"),
        ("MODEL.PIXEL_STD", "[57.4, 57.1, 58.4]"),
    ],
)
def test_pixels_of_other_weights_are_refused(tiny_config: TinyConfig, key: str, value: str) -> None:
    with pytest.raises(ValueError) as error:
        build_model(tiny_config(*PUBLISHED, *FPN, key, value))
    assert str(error.value).endswith(f"PublishedRelDN needs {key} {PUBLISHED_PIXELS[key]}")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("proposal_generator", "MODEL.PROPOSAL_GENERATOR.NAME", "RPN"),
        ("proposal_generator.anchor_generator", "MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"),
        ("roi_heads", "MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
        ("relation_head", "MODEL.ROI_RELATION_HEAD.NAME", "RelDNHead"),
    ],
)
def test_other_parts_are_refused_in_python(tiny_config: TinyConfig, name: str, key: str, value: str) -> None:
    args = PublishedRelDN.from_config(tiny_config(*PUBLISHED, *FPN))
    PublishedRelDN(**args)
    part, _, _ = name.partition(".")
    args[part] = RelDN.from_config(tiny_config(*PUBLISHED, *FPN, key, value))[part]
    with pytest.raises(ValueError, match=f"PublishedRelDN needs a {PUBLISHED_PARTS[key]} as {name}[:,]"):
        PublishedRelDN(**args)


def test_an_image_that_another_mapper_resized_is_refused(vgg: PublishedRelDN) -> None:
    x = input_of(WIDE)
    whole = {**x, "image": x["image"].to(torch.uint8)}
    with pytest.raises(ValueError, match=r"a\.jpg of .*\(61, 83\) came as .*INPUT\.RELDN_RESIZE_TEST factor"):
        vgg([{**whole, "file_name": "a.jpg"}])
    assert vgg([whole])[0]["task"] == "sgdet"  # of no data set: its pixels are the caller's
    same = image_of(((97, 132), (97, 132))).to(torch.uint8)  # nothing was resized
    assert vgg([{"image": same}])[0]["task"] == "sgdet"


def test_all_wrong_parts_are_named_at_once(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError) as error:
        build_model(tiny_config("MODEL.META_ARCHITECTURE", "PublishedRelDN"))
    assert all(key in str(error.value) for key in PUBLISHED_PARTS)


@pytest.mark.parametrize(("options", "wrong", "right"), [(FPN, 0, 2), (VGG, 2, 0)], ids=["fpn", "vgg"])
def test_another_sampling_ratio_is_refused(
    tiny_config: TinyConfig, options: list[str], wrong: int, right: int
) -> None:
    key = "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO"
    with pytest.raises(ValueError, match=f"PublishedRelDN needs {key} {right}$"):
        build_model(tiny_config(*PUBLISHED, *options, key, str(wrong)))


def test_training_is_refused(vgg: PublishedRelDN) -> None:
    with EventStorage(0), pytest.raises(ValueError, match="train RelDN with the same weights"):
        vgg.train()([make_input(3, [(0, 1, 2)])])


def test_the_engine_takes_it_for_a_relation_model(tiny_config: TinyConfig) -> None:
    assert is_relation_config(tiny_config(*PUBLISHED, *FPN))
    assert not is_relation_config(tiny_config(file="detector.yaml"))


def test_subject_and_predicate_regions_are_pooled_without_the_shift(fpn: PublishedRelDN) -> None:
    for pooler in (fpn.roi_heads.box_pooler, fpn.relation_head.pair_classifier.pooler):
        layers = [layer for layer in pooler.modules() if isinstance(layer, ROIAlign)]
        assert len(layers) == 4 and not any(layer.aligned for layer in layers)
        assert all(layer.sampling_ratio == 2 for layer in layers)


def test_the_spatial_module_can_be_off(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(*PUBLISHED, *VGG, f"{HEAD}.SPATIAL.ENABLED", "False")).eval()
    (result,) = model([input_of(WIDE)])
    assert result["relations"].scores.isfinite().all()
