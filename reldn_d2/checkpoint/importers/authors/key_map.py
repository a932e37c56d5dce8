"""Maps the tensors of the authors' checkpoints to ours: their names, and the change of each tensor.

The authors' code extends Detectron.pytorch, so the names of the detector are those of that project.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from reldn_d2.modeling import RelDNHead

from ..torchvision_vgg16 import VGG16_CONVOLUTIONS, VGG16_FULLY_CONNECTED
from . import layers
from .architecture import AuthorsArchitecture

Change = Callable[[Tensor], Tensor]

_HEAD = {layer: f"relation_head.{path}" for layer, path in RelDNHead.LAYER_PATHS.items()}


@dataclass(frozen=True)
class Entry:
    """The source of one of our tensors.

    Attributes:
        theirs: name of the authors' tensor.
        ours: name of our tensor.
        change: computes our tensor from theirs.
    """

    theirs: str
    ours: str
    change: Change = layers.unchanged


def key_map(architecture: AuthorsArchitecture) -> list[Entry]:
    """Returns the entries of all tensors of a model. Each of our names is in one entry."""
    entries = list(_detector(architecture))
    if architecture.relations:
        entries += _relations(architecture)
    return entries


def is_relation_key(theirs: str) -> bool:
    """Whether a name of the authors belongs to the relation part of RelDN, not to its detector."""
    return theirs.startswith(("Prd_RCNN.", "S_Head.", "O_Head.", "RelDN."))


def _detector(architecture: AuthorsArchitecture) -> Iterator[Entry]:
    yield from _backbone(architecture, "Conv_Body", "backbone")
    yield from _proposals(architecture)
    yield from _box_head(architecture, "Box_Head", "roi_heads.box_head")
    predictor = "roi_heads.box_predictor"
    yield from _layer("Box_Outs.cls_score", f"{predictor}.cls_score", layers.background_last)
    yield from _layer("Box_Outs.bbox_pred", f"{predictor}.bbox_pred", layers.without_background_box)


def _relations(architecture: AuthorsArchitecture) -> Iterator[Entry]:
    yield from _backbone(architecture, "Prd_RCNN.Conv_Body", "relation_backbone")
    yield from _box_head(architecture, "Prd_RCNN.Box_Head", _HEAD["predicate_head"])
    yield from _box_head(architecture, "S_Head", _HEAD["subject_head"])
    yield from _box_head(architecture, "O_Head", _HEAD["object_head"])
    yield from _layer("RelDN.prd_cls_feats.0", _HEAD["visual_fuse"])
    yield from _layer("RelDN.prd_cls_feats.2", _HEAD["visual_hidden"])
    yield from _layer("RelDN.prd_cls_scores", _HEAD["visual_scores"], layers.background_last)
    yield from _layer("RelDN.prd_sbj_scores", _HEAD["subject_skip"], layers.background_last)
    yield from _layer("RelDN.prd_obj_scores", _HEAD["object_skip"], layers.background_last)
    if architecture.spatial:
        first = _HEAD["spatial_first"]
        yield Entry("RelDN.spt_cls_feats.0.weight", f"{first}.weight", layers.spatial_columns)
        yield Entry("RelDN.spt_cls_feats.0.bias", f"{first}.bias")
        yield from _layer("RelDN.spt_cls_feats.2", _HEAD["spatial_second"])
        yield from _layer("RelDN.spt_cls_scores", _HEAD["spatial_scores"], layers.background_last)
    if architecture.semantic:
        yield Entry("RelDN.freq_bias.rel_baseline.weight", _HEAD["semantic_table"], layers.log_prior)


def _backbone(architecture: AuthorsArchitecture, theirs: str, ours: str) -> Iterator[Entry]:
    if architecture.is_vgg16:
        for position, name in VGG16_CONVOLUTIONS.items():
            yield from _layer(f"{theirs}.convs.{position}", f"{ours}.{name}")
    else:
        yield from _pyramid(theirs, ours)
        yield from _resnet(architecture, f"{theirs}.conv_body", f"{ours}.bottom_up")


def _pyramid(theirs: str, ours: str) -> Iterator[Entry]:
    """The FPN. The authors' lists of its layers go from P5 down to P2."""
    for place, level in enumerate((5, 4, 3, 2)):
        lateral = f"topdown_lateral_modules.{place - 1}.conv_lateral" if place else "conv_top"
        yield from _layer(f"{theirs}.{lateral}", f"{ours}.fpn_lateral{level}")
        yield from _layer(f"{theirs}.posthoc_modules.{place}", f"{ours}.fpn_output{level}")


def _resnet(architecture: AuthorsArchitecture, theirs: str, ours: str) -> Iterator[Entry]:
    yield from _normalised(f"{theirs}.res1.conv1", f"{theirs}.res1.bn1", f"{ours}.stem.conv1")
    for stage, blocks in enumerate(architecture.blocks, start=2):
        for block in range(blocks):
            their_block, our_block = f"{theirs}.res{stage}.{block}", f"{ours}.res{stage}.{block}"
            for i in (1, 2, 3):
                yield from _normalised(
                    f"{their_block}.conv{i}", f"{their_block}.bn{i}", f"{our_block}.conv{i}"
                )
            if block == 0:
                shortcut = f"{their_block}.downsample"
                yield from _normalised(f"{shortcut}.0", f"{shortcut}.1", f"{our_block}.shortcut")


def _normalised(convolution: str, norm: str, ours: str) -> Iterator[Entry]:
    """A convolution without bias, with a scale and shift: batch normalisation of mean 0 and variance 1."""
    yield Entry(f"{convolution}.weight", f"{ours}.weight")
    yield from _layer(norm, f"{ours}.norm")
    yield Entry(f"{norm}.weight", f"{ours}.norm.running_mean", layers.zeros)
    yield Entry(f"{norm}.weight", f"{ours}.norm.running_var", layers.identity_variance)


def _proposals(architecture: AuthorsArchitecture) -> Iterator[Entry]:
    ours = "proposal_generator.rpn_head"
    # With an FPN each level has anchors of one size, so there is nothing to reorder.
    theirs = "RPN.RPN" if architecture.is_vgg16 else "RPN.FPN_RPN"
    scores = layers.anchor_scores_by_size if architecture.is_vgg16 else layers.unchanged
    boxes = layers.anchor_boxes_by_size if architecture.is_vgg16 else layers.unchanged
    yield from _layer(f"{theirs}_conv", f"{ours}.conv")
    yield from _layer(f"{theirs}_cls_score", f"{ours}.objectness_logits", scores)
    yield from _layer(f"{theirs}_bbox_pred", f"{ours}.anchor_deltas", boxes)


def _box_head(architecture: AuthorsArchitecture, theirs: str, ours: str) -> Iterator[Entry]:
    if architecture.is_vgg16:
        for position, name in VGG16_FULLY_CONNECTED.items():
            yield from _layer(f"{theirs}.heads.{position}", f"{ours}.{name}")
    else:
        yield from _layer(f"{theirs}.fc1", f"{ours}.fc1")
        yield from _layer(f"{theirs}.fc2", f"{ours}.fc2")


def _layer(theirs: str, ours: str, change: Change = layers.unchanged) -> Iterator[Entry]:
    """Weight and bias of a layer, which change in the same way."""
    yield Entry(f"{theirs}.weight", f"{ours}.weight", change)
    yield Entry(f"{theirs}.bias", f"{ours}.bias", change)
