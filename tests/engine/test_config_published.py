"""The published checkpoints: the conventions of their configs, and the sizes of their tensors."""

import pytest
import torch
from detectron2.modeling import build_model

from reldn_d2.engine import parts_of
from reldn_d2.modeling.published import PUBLISHED_PARTS
from tests.builders.config_files import differences, load

HEAD = "MODEL.ROI_RELATION_HEAD."
PUBLISHED = {
    "published/vg_x101_fpn.yaml": "vg/reldn_x101_fpn.yaml",
    "published/vg_vgg16.yaml": "vg/reldn_vgg16.yaml",
    "published/vrd_vgg16_imagenet.yaml": "vrd/reldn_vgg16_imagenet.yaml",
    "published/vrd_vgg16_coco.yaml": "vrd/reldn_vgg16_coco.yaml",
    "published/openimages_x101_fpn.yaml": "openimages/reldn_x101_fpn.yaml",
    "published/openimages_mini_x101_fpn.yaml": "openimages/mini_reldn_x101_fpn.yaml",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_are_evaluated_by_their_own_conventions(name: str) -> None:
    assert differences(name, PUBLISHED[name]) <= {
        *("MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS", "OUTPUT_DIR", "INPUT.FORMAT"),
        "INPUT.RELDN_RESIZE_TEST",
        *("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.ANCHOR_GENERATOR.NAME"),
        *("MODEL.PROPOSAL_GENERATOR.NAME", "MODEL.ROI_HEADS.NAME", "MODEL.ROI_BOX_HEAD.POOLER_TYPE"),
        f"{HEAD}NAME",
    }
    model = load(name).MODEL
    assert load(name).INPUT.FORMAT == "BGR"
    assert model.PIXEL_MEAN == [102.9801, 115.9465, 122.7717] and model.PIXEL_STD == [1.0, 1.0, 1.0]
    fpn = "fpn" in name
    assert model.ROI_BOX_HEAD.POOLER_TYPE == "ROIAlign" and model.ROI_BOX_HEAD.POOLER_RESOLUTION == 7
    assert (2 if fpn else 0) == model.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO
    assert ((1000 if fpn else 6000), 1000) == (model.RPN.PRE_NMS_TOPK_TEST, model.RPN.POST_NMS_TOPK_TEST)
    assert model.RPN.NMS_THRESH == 0.7
    assert model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS == (10.0, 10.0, 5.0, 5.0)


@pytest.mark.parametrize(
    "key", ["INPUT.RELDN_RESIZE_TEST", *(key for key in PUBLISHED_PARTS if key.endswith(".NAME"))]
)
def test_parts_of_the_published_code_are_refused_in_reldn(key: str) -> None:
    """Such a training would run to its end."""
    named = f"{key} {PUBLISHED_PARTS[key]}"
    with pytest.raises(ValueError, match=f"^{named}: only .* PublishedRelDN has this, and it is RelDN"):
        parts_of(load("vg/reldn_x101_fpn.yaml", *named.split()))
    with pytest.raises(ValueError, match=rf"{named}.* in configs/vrd, vg and openimages$"):
        parts_of(load("published/vg_x101_fpn.yaml", "MODEL.META_ARCHITECTURE", "RelDN"))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (
            "vrd/reldn_vgg16_imagenet.yaml",
            {
                "backbone.conv5_3.weight": (512, 512, 3, 3),
                "proposal_generator.rpn_head.objectness_logits.weight": (15, 512, 1, 1),
                "roi_heads.box_head.fc1.weight": (4096, 25088),
                "roi_heads.box_predictor.bbox_pred.weight": (400, 4096),
                "relation_head.pair_classifier.predicate_head.fc2.weight": (4096, 4096),
                "relation_head.pair_classifier.visual.fuse.weight": (6144, 12288),
                "relation_head.pair_classifier.visual.score.1.weight": (4096, 6144),
                "relation_head.pair_classifier.visual.score.3.weight": (71, 4096),
                "relation_head.pair_classifier.spatial.mlp.0.weight": (64, 28),
                "relation_head.pair_classifier.semantic.log_prior": (100, 100, 71),
            },
        ),
        (
            "vg/reldn_x101_fpn.yaml",
            {
                "backbone.bottom_up.res2.0.conv1.weight": (256, 64, 1, 1),
                "backbone.bottom_up.res2.0.conv2.weight": (256, 4, 3, 3),
                "backbone.bottom_up.res4.22.conv3.weight": (1024, 1024, 1, 1),
                "proposal_generator.rpn_head.objectness_logits.weight": (3, 256, 1, 1),
                "roi_heads.box_head.fc1.weight": (1024, 12544),
                "relation_head.pair_classifier.visual.fuse.weight": (1536, 3072),
                "relation_head.pair_classifier.semantic.log_prior": (150, 150, 51),
            },
        ),
    ],
)
def test_the_papers_models_have_their_sizes(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        model = build_model(load(name, "MODEL.DEVICE", "meta"))
    state = model.state_dict()
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    if "x101" in name:
        # The stride is in the 3x3 convolution.
        block = model.backbone.bottom_up.res3[0]
        assert (block.conv1.stride, block.conv2.stride, block.conv2.groups) == ((1, 1), (2, 2), 64)
