"""Detectron2 backbones from timm models that return feature maps."""

from difflib import get_close_matches
from math import log2
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn


class TimmBackbone(Backbone):
    """Wraps `timm.create_model(name, features_only=True)`.

    Feature maps are named c1, c2, ... by the logarithm of their stride: c4 has stride 16.
    """

    def __init__(self, name: str, out_features: list[str], freeze_norm: bool, freeze_at: int = 0) -> None:
        """Builds the timm model up to the last map that is needed, without pretrained weights.

        Args:
            name: name of a timm model that returns feature maps.
            out_features: names of the maps to return.
            freeze_norm: whether batch normalisation has fixed statistics and weights, as Detectron2's
                "FrozenBN".
            freeze_at: all layers up to the map c{freeze_at} get no gradient; 0 freezes nothing.

        Raises:
            ValueError: timm has no such model, or it does not return one of the maps.
        """
        import timm  # late, since it takes half a second and few models need it
        from timm.layers.norm_act import freeze_batch_norm_2d

        super().__init__()
        try:
            whole: Any = timm.create_model(name, features_only=True, pretrained=False)
        except RuntimeError as error:
            near = get_close_matches(name, timm.list_models(), n=3)
            similar = f": did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"the timm model {name!r} can't be made ({error}){similar}") from error
        info = whole.feature_info
        available = [f"c{int(log2(stride))}" for stride in info.reduction()]
        frozen = [f"c{freeze_at}"] if freeze_at else []
        unknown = sorted({*out_features, *frozen} - set(available))
        if unknown or len(set(available)) < len(available):
            raise ValueError(f"timm model {name} has no feature map {unknown}; it has {available}, by stride")
        # Layers after the last map would get no gradient, which is an error in distributed training.
        names = available[: 1 + max(available.index(x) for x in (*out_features, *frozen))]
        body: Any = timm.create_model(
            name, features_only=True, pretrained=False, out_indices=tuple(range(len(names)))
        )
        info = body.feature_info
        self.body: nn.Module = body
        self._names = names
        self._out_features = out_features
        self._out_feature_channels = dict(zip(names, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(names, info.reduction(), strict=True))
        if freeze_at:
            self._freeze(info.module_name()[names.index(f"c{freeze_at}")])
        if freeze_norm:
            self.body = freeze_batch_norm_2d(body)  # type: ignore[no-untyped-call]  # timm has no type here

    def _freeze(self, last: str) -> None:
        """Freezes all modules up to and including `last`; timm registers modules in order of execution."""
        reached = False
        for name, parameter in self.body.named_parameters():
            inside = name.startswith(f"{last}.")
            if reached and not inside:
                return
            reached = inside
            parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Computes the feature maps of a batch of images.

        Args:
            x: (N, 3, H, W).

        Returns:
            Feature maps by name, (N, channels, H / stride, W / stride).
        """
        maps = dict(zip(self._names, self.body(x), strict=True))
        return {name: maps[name] for name in self._out_features}


@BACKBONE_REGISTRY.register()
def build_reldn_timm_backbone(
    cfg: CfgNode,
    input_shape: ShapeSpec,  # noqa: ARG001 (registry API)
) -> TimmBackbone:
    """Builds the model MODEL.RELDN_TIMM.NAME without FPN. It returns the maps MODEL.FPN.IN_FEATURES."""
    return TimmBackbone(
        cfg.MODEL.RELDN_TIMM.NAME,
        out_features=cfg.MODEL.FPN.IN_FEATURES,
        freeze_norm=cfg.MODEL.RELDN_TIMM.FREEZE_NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_reldn_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Builds an FPN on a timm model, like Detectron2's `build_resnet_fpn_backbone`."""
    return FPN(
        bottom_up=build_reldn_timm_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
