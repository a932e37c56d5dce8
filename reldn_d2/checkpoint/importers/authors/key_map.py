"""Which tensor of a published checkpoint becomes which of ours, and what changes on the way.

Published names are those of Detectron.pytorch, which the authors built on, and of their relation layers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ..torchvision_vgg16 import VGG16_CONVOLUTIONS, VGG16_FULLY_CONNECTED
from . import layers
from .architecture import PublishedArchitecture

Change = Callable[[Tensor], Tensor]

_CLASSIFIER = "relation_head.pair_classifier"


@dataclass(frozen=True)
class Entry:
    """One tensor of ours: `change` of the published one."""

    published: str
    ours: str
    change: Change = layers.unchanged


def key_map(architecture: PublishedArchitecture) -> list[Entry]:
    """All tensors of a model. A published name may stand in several entries; each of ours stands in one."""
    entries = list(_detector(architecture))
    if architecture.relations:
        entries += _relations(architecture)
    return entries


def is_relation_key(published: str) -> bool:
    """Whether a published name belongs to RelDN, not to its detector."""
    return published.startswith(("Prd_RCNN.", "S_Head.", "O_Head.", "RelDN."))


def _detector(architecture: PublishedArchitecture) -> Iterator[Entry]:
    yield from _backbone(architecture, "Conv_Body", "backbone")
    yield from _proposals(architecture)
    yield from _box_head(architecture, "Box_Head", "roi_heads.box_head")
    predictor = "roi_heads.box_predictor"
    yield from _layer("Box_Outs.cls_score", f"{predictor}.cls_score", layers.background_last)
    yield from _layer("Box_Outs.bbox_pred", f"{predictor}.bbox_pred", layers.without_background_box)


def _relations(architecture: PublishedArchitecture) -> Iterator[Entry]:
    yield from _backbone(architecture, "Prd_RCNN.Conv_Body", "relation_backbone")
    yield from _box_head(architecture, "Prd_RCNN.Box_Head", f"{_CLASSIFIER}.predicate_head")
    yield from _box_head(architecture, "S_Head", f"{_CLASSIFIER}.subject_head")
    yield from _box_head(architecture, "O_Head", f"{_CLASSIFIER}.object_head")
    visual = f"{_CLASSIFIER}.visual"
    yield from _layer("RelDN.prd_cls_feats.0", f"{visual}.fuse")
    yield from _layer("RelDN.prd_cls_feats.2", f"{visual}.score.1")
    yield from _layer("RelDN.prd_cls_scores", f"{visual}.score.3", layers.background_last)
    yield from _layer("RelDN.prd_sbj_scores", f"{visual}.subject_skip", layers.background_last)
    yield from _layer("RelDN.prd_obj_scores", f"{visual}.object_skip", layers.background_last)
    if architecture.spatial:
        spatial = f"{_CLASSIFIER}.spatial.mlp"
        yield Entry("RelDN.spt_cls_feats.0.weight", f"{spatial}.0.weight", layers.spatial_columns)
        yield Entry("RelDN.spt_cls_feats.0.bias", f"{spatial}.0.bias")
        yield from _layer("RelDN.spt_cls_feats.2", f"{spatial}.2")
        yield from _layer("RelDN.spt_cls_scores", f"{spatial}.4", layers.background_last)
    if architecture.semantic:
        yield Entry(
            "RelDN.freq_bias.rel_baseline.weight", f"{_CLASSIFIER}.semantic.log_prior", layers.log_prior
        )


def _backbone(architecture: PublishedArchitecture, published: str, ours: str) -> Iterator[Entry]:
    if architecture.is_vgg16:
        for position, name in VGG16_CONVOLUTIONS.items():
            yield from _layer(f"{published}.convs.{position}", f"{ours}.{name}")
    else:
        yield from _pyramid(published, ours)
        yield from _resnet(architecture, f"{published}.conv_body", f"{ours}.bottom_up")


def _pyramid(published: str, ours: str) -> Iterator[Entry]:
    """The FPN, which publishes its lists from P5 down to P2."""
    for place, level in enumerate((5, 4, 3, 2)):
        lateral = f"topdown_lateral_modules.{place - 1}.conv_lateral" if place else "conv_top"
        yield from _layer(f"{published}.{lateral}", f"{ours}.fpn_lateral{level}")
        yield from _layer(f"{published}.posthoc_modules.{place}", f"{ours}.fpn_output{level}")


def _resnet(architecture: PublishedArchitecture, published: str, ours: str) -> Iterator[Entry]:
    yield from _normalised(f"{published}.res1.conv1", f"{published}.res1.bn1", f"{ours}.stem.conv1")
    for stage, blocks in enumerate(architecture.blocks, start=2):
        for block in range(blocks):
            theirs, own = f"{published}.res{stage}.{block}", f"{ours}.res{stage}.{block}"
            for number in (1, 2, 3):
                yield from _normalised(
                    f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{own}.conv{number}"
                )
            if block == 0:
                yield from _normalised(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{own}.shortcut")


def _normalised(convolution: str, norm: str, ours: str) -> Iterator[Entry]:
    """A convolution without bias and the scale and shift after it: batch normalisation with nothing left to estimate."""
    yield Entry(f"{convolution}.weight", f"{ours}.weight")
    yield from _layer(norm, f"{ours}.norm")
    yield Entry(f"{norm}.weight", f"{ours}.norm.running_mean", layers.zeros)
    yield Entry(f"{norm}.weight", f"{ours}.norm.running_var", layers.identity_variance)


def _proposals(architecture: PublishedArchitecture) -> Iterator[Entry]:
    ours = "proposal_generator.rpn_head"
    # With FPN a level has anchors of one size, so that there is nothing to reorder.
    published = "RPN.RPN" if architecture.is_vgg16 else "RPN.FPN_RPN"
    scores = layers.anchor_scores_by_size if architecture.is_vgg16 else layers.unchanged
    boxes = layers.anchor_boxes_by_size if architecture.is_vgg16 else layers.unchanged
    yield from _layer(f"{published}_conv", f"{ours}.conv")
    yield from _layer(f"{published}_cls_score", f"{ours}.objectness_logits", scores)
    yield from _layer(f"{published}_bbox_pred", f"{ours}.anchor_deltas", boxes)


def _box_head(architecture: PublishedArchitecture, published: str, ours: str) -> Iterator[Entry]:
    if architecture.is_vgg16:
        for position, name in VGG16_FULLY_CONNECTED.items():
            yield from _layer(f"{published}.heads.{position}", f"{ours}.{name}")
    else:
        yield from _layer(f"{published}.fc1", f"{ours}.fc1")
        yield from _layer(f"{published}.fc2", f"{ours}.fc2")


def _layer(published: str, ours: str, change: Change = layers.unchanged) -> Iterator[Entry]:
    """Weight and bias."""
    yield Entry(f"{published}.weight", f"{ours}.weight", change)
    yield Entry(f"{published}.bias", f"{ours}.bias", change)
