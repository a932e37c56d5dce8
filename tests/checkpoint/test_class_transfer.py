"""Rows of layers, copied by the names of classes: compared with loops over classes, and with real models."""

from functools import cache
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.checkpoint.class_transfer import ClassDependence, NameMatch, copy_by_name
from reldn_d2.engine import load_config
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig

SCORES = "roi_heads.box_predictor.cls_score.weight"
BOXES = "roi_heads.box_predictor.bbox_pred.bias"
STAGE = "roi_heads.box_predictor.2.cls_score.bias"
MASKS = "roi_heads.mask_head.predictor.weight"
ANCHORED = "head.cls_score.weight"
SPATIAL = "relation_head.pair_classifier.spatial.mlp.4.weight"
VISUAL = "relation_head.pair_classifier.visual.score.3.bias"
SUBJECTS = "relation_head.pair_classifier.visual.subject_skip.weight"
TABLE = "relation_head.pair_classifier.semantic.log_prior"
SHARED = "relation_head.pair_classifier.spatial.mlp.2.weight"
ANCHORS = 3


def parameters(vocabulary: Vocabulary, seed: int) -> dict[str, Tensor]:
    """Random parameters of all kinds of layers."""
    c, p = len(vocabulary.thing_classes), len(vocabulary.predicate_classes)
    shapes = {
        SCORES: (c + 1, 5),
        STAGE: (c + 1,),
        BOXES: (4 * c,),
        MASKS: (c, 5, 1, 1),
        ANCHORED: (ANCHORS * c, 5, 3, 3),
        SPATIAL: (p + 1, 5),
        VISUAL: (p + 1,),
        SUBJECTS: (p + 1, 5),
        TABLE: (c, c, p + 1),
        SHARED: (4, 4),
    }
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def slow_rows(name: str, vocabulary: Vocabulary) -> dict[tuple[Any, ...], int]:
    """(anchor, class name or None for the background, row of the class) -> row of the parameter."""
    things, predicates = vocabulary.thing_classes, vocabulary.predicate_classes
    words: list[str | None] = [*(predicates if name.startswith("relation_head") else things)]
    if name not in (BOXES, MASKS, ANCHORED):
        words.append(None)
    rows: dict[tuple[Any, ...], int] = {}
    for anchor in range(ANCHORS if name == ANCHORED else 1):
        for word in words:
            for part in range(4 if name == BOXES else 1):
                rows[anchor, word, part] = len(rows)
    return rows


@cache
def dependence() -> ClassDependence:
    """That of a RelDN. Only the paths of its layers matter here, so one model is enough."""
    options = [*TINY, "MODEL.DEVICE", "meta", "MODEL.WEIGHTS", ""]
    cfg: Any = load_config(str(REPOSITORY / "configs" / "scenes" / "reldn.yaml"), options)
    with torch.device("meta"):
        return ClassDependence.of(build_model(cfg))


NAMES = st.lists(st.sampled_from([f"class {i}" for i in range(7)]), min_size=1, max_size=6, unique=True)


@given(found=st.builds(Vocabulary, NAMES, NAMES), own=st.builds(Vocabulary, NAMES, NAMES))
def test_each_row_is_copied_to_the_place_of_its_class(found: Vocabulary, own: Vocabulary) -> None:
    weights, initial = parameters(found, 0), parameters(own, 1)
    before = {name: x.clone() for name, x in weights.items()}
    matches = copy_by_name(weights, initial, dependence(), found, own, "the file")
    assert list(weights) == list(before)
    # With one class, class-specific and shared regression have the same shape, so they are kept.
    one_each = len(found.thing_classes) == len(own.thing_classes) == 1
    kept = {BOXES, MASKS} if one_each else set()
    assert all(torch.equal(weights[name], before[name]) for name in kept)
    for name in set(weights) - {TABLE, SHARED} - kept:
        sources, targets = slow_rows(name, found), slow_rows(name, own)
        assert weights[name].shape == initial[name].shape, name
        for place, row in targets.items():
            expected = before[name][sources[place]] if place in sources else initial[name][row]
            assert torch.equal(weights[name][row], expected), (name, place)
    assert torch.equal(weights[SHARED], before[SHARED])
    assert torch.equal(weights[TABLE], (initial if found != own else before)[TABLE])
    for kind in ("thing_classes", "predicate_classes"):
        mine, theirs = own.names(kind), found.names(kind)
        if mine == theirs:
            assert kind not in matches
        else:
            assert sorted(matches[kind].copied) == sorted(set(mine) & set(theirs))
            assert sorted(matches[kind].new) == sorted(set(mine) - set(theirs))


def test_a_case_by_hand() -> None:
    found, own = (
        Vocabulary(["cup", "hat"], ["on", "in"]),
        Vocabulary(["hat", "box", "cup"], ["in", "by", "at"]),
    )
    weights = {
        STAGE: torch.tensor([1.0, 2, 9]),  # cup, hat, background
        BOXES: torch.arange(1.0, 9),
        VISUAL: torch.tensor([5.0, 6, 7]),  # on, in, background
    }
    initial = {STAGE: -torch.ones(4), BOXES: -torch.ones(12), VISUAL: -torch.ones(4)}
    matches = copy_by_name(weights, initial, dependence(), found, own, "the file")
    assert weights[STAGE].tolist() == [2, -1, 1, 9]
    assert weights[BOXES].tolist() == [5, 6, 7, 8, -1, -1, -1, -1, 1, 2, 3, 4]
    assert weights[VISUAL].tolist() == [6, -1, -1, 7]
    assert matches == {
        "thing_classes": NameMatch(["hat", "cup"], ["box"]),
        "predicate_classes": NameMatch(["in"], ["by", "at"]),
    }
    assert (initial[STAGE] == -1).all()


def test_parameters_that_the_model_lacks_are_not_changed() -> None:
    found, own = Vocabulary(["a"], ["on"]), Vocabulary(["b"], ["on"])
    weights = parameters(found, 0)
    before = dict(weights)
    copy_by_name(weights, {}, dependence(), found, own, "the file")
    assert all(weights[name] is before[name] for name in before)


@pytest.mark.parametrize("nameless", ["found", "own"])
def test_without_names_nothing_is_copied_by_name(nameless: str) -> None:
    weights = parameters(Vocabulary(["a"], ["on", "in"]), 0)
    fresh = parameters(Vocabulary(["b"], ["x", "y", "z"]), 1)
    found = Vocabulary(["a"], [] if nameless == "found" else ["on", "in"])
    own = Vocabulary(["b"], [] if nameless == "own" else ["x", "y", "z"])
    before = dict(weights)
    assert list(copy_by_name(weights, fresh, dependence(), found, own, "the file")) == ["thing_classes"]
    assert all(weights[name] is before[name] for name in (SPATIAL, VISUAL, SUBJECTS))


def test_rows_that_all_classes_share_are_copied_whole() -> None:
    found, own = Vocabulary(["a", "b"], []), Vocabulary(["b", "c", "d"], [])
    weights = {BOXES: torch.arange(4.0), MASKS: torch.ones(1, 5, 1, 1)}
    fresh = {BOXES: torch.zeros(4), MASKS: torch.zeros(1, 5, 1, 1)}
    copy_by_name(weights, fresh, dependence(), found, own, "the file")
    assert weights[BOXES].tolist() == [0, 1, 2, 3] and (weights[MASKS] == 1).all()


@pytest.mark.parametrize("fresh", [torch.zeros(4, 6), torch.zeros(9, 5)], ids=["narrower", "other rows"])
def test_parameters_of_another_architecture_are_not_changed(fresh: Tensor) -> None:
    weights = {SCORES: torch.ones(3, 5)}
    words = Vocabulary(["a", "b"], []), Vocabulary(["a", "b", "c"], [])
    copy_by_name(weights, {SCORES: fresh}, ClassDependence(), *words, "x")
    assert weights[SCORES].tolist() == torch.ones(3, 5).tolist()


def test_parameters_for_another_number_of_anchors_are_not_changed() -> None:
    weights = {ANCHORED: torch.ones(4, 5, 3, 3)}
    words = Vocabulary(["a", "b"], []), Vocabulary(["b", "c"], [])
    copy_by_name(weights, {ANCHORED: torch.zeros(6, 5, 3, 3)}, ClassDependence(), *words, "x")
    assert weights[ANCHORED].shape == (4, 5, 3, 3)


@pytest.mark.parametrize("rows", [2, 4, 6])
def test_a_vocabulary_that_contradicts_the_weights_is_refused(rows: int) -> None:
    weights = {SCORES: torch.ones(rows, 5)}
    with pytest.raises(
        ValueError, match=f"^the file names 2 thing_classes, but its {SCORES} has {rows} rows"
    ):
        words = Vocabulary(["a", "b"], []), Vocabulary(["c", "d"], [])
        copy_by_name(weights, {SCORES: torch.zeros(rows, 5)}, ClassDependence(), *words, "the file")


def test_precision_is_that_of_the_model() -> None:
    weights = {STAGE: torch.tensor([1.0, 2.0], dtype=torch.float16)}
    words = Vocabulary(["a"], []), Vocabulary(["b", "a"], [])
    copy_by_name(weights, {STAGE: torch.zeros(3)}, ClassDependence(), *words, "x")
    assert weights[STAGE].dtype == torch.float32 and weights[STAGE].tolist() == [0, 1, 2]


MASK = ["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"]
MASK += ["MODEL.ROI_MASK_HEAD.NUM_CONV", "1", "MODEL.ROI_MASK_HEAD.CONV_DIM", "8"]
CASCADE = ["MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"]
C4 = [
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", "50"),
    *("MODEL.RESNETS.OUT_FEATURES", "['res4']", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.RPN.IN_FEATURES", "['res4']", "MODEL.ROI_HEADS.IN_FEATURES", "['res4']"),
    *("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "MODEL.ANCHOR_GENERATOR.SIZES", "[[32, 64]]"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "4", "MODEL.ROI_BOX_HEAD.NAME", ""),
]
RETINANET = [
    *("MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RESNETS.OUT_FEATURES", "['res3','res4','res5']"),
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
    *("MODEL.FPN.IN_FEATURES", "['res3','res4','res5']"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16],[32],[64],[96],[128]]"),
]
ARCHITECTURES = {
    "standard": [],
    "class-agnostic boxes": ["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"],
    "mask": MASK,
    "cascade with masks": [*CASCADE, *MASK],
    "C4 with masks": [*C4, *MASK],
    "class-agnostic masks": [*MASK, "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"],
}


def numbered(count: int, what: str) -> list[str]:
    return [f"{what} {i}" for i in range(count)]


def assert_all_is_copied(few: CfgNode, many: CfgNode, found: Vocabulary, own: Vocabulary) -> None:
    """All parameters whose shape depends on the number of classes get the larger model's shapes."""
    with torch.device("meta"):
        cfgs = [few.clone(), many.clone()]
        for cfg in cfgs:
            cfg.MODEL.DEVICE = "meta"
        models = [build_model(cfg) for cfg in cfgs]
    small, large = (model.state_dict() for model in models)
    depending = {name for name in small if small[name].shape != large[name].shape}
    assert depending
    weights = {name: torch.zeros(x.shape) for name, x in small.items()}
    initial = {name: torch.ones(x.shape) for name, x in large.items()}
    before = dict(weights)
    copy_by_name(weights, initial, ClassDependence.of(models[1]), found, own, "the file")
    assert {name for name in weights if weights[name] is not before[name]} == depending
    assert all(weights[name].shape == initial[name].shape for name in weights)


@pytest.mark.parametrize("options", list(ARCHITECTURES.values()), ids=list(ARCHITECTURES))
def test_all_layers_that_depend_on_the_classes_are_copied(
    tiny_config: TinyConfig, options: list[str]
) -> None:
    classes, predicates = "MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.ROI_RELATION_HEAD.NUM_PREDICATES"
    few = tiny_config(*options, classes, "3", predicates, "2")
    many = tiny_config(*options, classes, "5", predicates, "6")
    found = Vocabulary(numbered(3, "thing"), numbered(2, "predicate"))
    own = Vocabulary(numbered(5, "thing"), numbered(6, "predicate"))
    assert_all_is_copied(few, many, found, own)


def test_all_class_layers_of_a_single_stage_detector_are_copied(tiny_config: TinyConfig) -> None:
    few, many = (
        tiny_config(*RETINANET, "MODEL.RETINANET.NUM_CLASSES", n, file="detector.yaml") for n in ("3", "5")
    )
    assert_all_is_copied(few, many, Vocabulary(numbered(3, "x"), []), Vocabulary(numbered(5, "x"), []))
