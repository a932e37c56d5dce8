"""RelDN with the published code's conventions in inference, to reproduce the results of its checkpoints."""

from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from reldn_d2.structures import EntityBatch

from ..inputs import require_instances
from ..meta_arch import RelDN
from ..region_heads import class_probabilities
from ..relation_head.entities import entity_batch, given_entities
from .boxes import inclusive
from .image_frame import ImageFrame, pooled_regions
from .proposals import RelDNPublishedRPN, RelDNRoundedAnchorGenerator
from .relation_head import PublishedRelDNHead
from .roi_heads import InclusivePooler, RelDNPublishedROIHeads

# Config values that PublishedRelDN needs.
PUBLISHED_PARTS = {
    "MODEL.ANCHOR_GENERATOR.NAME": "RelDNRoundedAnchorGenerator",
    "MODEL.PROPOSAL_GENERATOR.NAME": "RelDNPublishedRPN",
    "MODEL.ROI_HEADS.NAME": "RelDNPublishedROIHeads",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_RELATION_HEAD.NAME": "PublishedRelDNHead",
    "MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU": True,
    "MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD": "published",
    "INPUT.RELDN_RESIZE_TEST": "factor",
}
#: Config values of the pixels that the published weights were trained with.
PUBLISHED_PIXELS = {
    "INPUT.FORMAT": "BGR",
    "MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
}
_BOXES_OF = {"instances": "gt_boxes", "detections": "pred_boxes"}


@META_ARCH_REGISTRY.register()
class PublishedRelDN(RelDN):
    """RelDN with the box arithmetic, detection and spatial features of the published code, for evaluation.

    It has the parameters of RelDN, under the same names. Boxes of entities are always in pixels of the
    original image. The images of a batch are computed one by one, because padding changes results.

    Given and reported boxes are inclusive: x1, y1, x2, y2 are the first and the last pixels. Reported boxes
    may reach beyond the image, into the padding of the network input.
    """

    @configurable
    def __init__(self, *, min_size: int, max_size: int, **reldn: Any) -> None:
        """Puts the parts together.

        Args:
            min_size: length of the network input's shorter side.
            max_size: largest length of its longer side.
            reldn: arguments of RelDN, with the parts that `PUBLISHED_PARTS` names.

        Raises:
            ValueError: a part has other conventions; or see RelDN.
        """
        super().__init__(**reldn)
        self.min_size, self.max_size = min_size, max_size
        self._check_parts()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds the parts that the config describes.

        Raises:
            ValueError: a config value is not that of `PUBLISHED_PARTS` or `PUBLISHED_PIXELS`.
        """
        # With FPN two samples per bin; without FPN one sample for each pixel of a bin.
        ratio = 2 if len(cfg.MODEL.ROI_HEADS.IN_FEATURES) > 1 else 0
        wanted_values = {
            **PUBLISHED_PARTS,
            **PUBLISHED_PIXELS,
            "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": ratio,
        }
        wrong = {key: value for key, value in wanted_values.items() if _value(cfg, key) != value}
        if wrong:
            wanted = ", ".join(f"{key} {value}" for key, value in wrong.items())
            raise ValueError(f"MODEL.META_ARCHITECTURE PublishedRelDN needs {wanted}")
        sizes = {"min_size": cfg.INPUT.MIN_SIZE_TEST, "max_size": cfg.INPUT.MAX_SIZE_TEST}
        return {**super().from_config(cfg), **sizes}

    def _check_parts(self) -> None:
        """Checks the parts of a config in Python, which has no keys that `from_config` could check."""
        rpn, classifier = self.proposal_generator, getattr(self.relation_head, "pair_classifier", None)
        parts: dict[str, tuple[Any, type]] = {
            "proposal_generator": (rpn, RelDNPublishedRPN),
            "proposal_generator.anchor_generator": (
                getattr(rpn, "anchor_generator", None),
                RelDNRoundedAnchorGenerator,
            ),
            "roi_heads": (self.roi_heads, RelDNPublishedROIHeads),
            "roi_heads.box_pooler": (getattr(self.roi_heads, "box_pooler", None), InclusivePooler),
            "relation_head": (self.relation_head, PublishedRelDNHead),
            "relation_head.pair_classifier.pooler": (getattr(classifier, "pooler", None), InclusivePooler),
        }
        wrong = {
            name: kind
            for name, (part, kind) in parts.items()
            if part is not None and not isinstance(part, kind)
        }
        if wrong:
            wanted = ", ".join(f"a {kind.__name__} as {name}" for name, kind in wrong.items())
            raise ValueError(f"PublishedRelDN needs {wanted}: its parts have conventions of their own")

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Calls `inference`.

        Raises:
            ValueError: the model is in training mode.
        """
        if self.training:
            raise ValueError(
                "MODEL.META_ARCHITECTURE PublishedRelDN is for evaluation: train RelDN with the same "
                "weights, by a config in configs/vrd, vg or openimages"
            )
        return self.inference(batched_inputs)

    @torch.no_grad()
    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]]:
        """Finds entities and relationships as in RelDN. Boxes in the inputs are in the network input.

        They were resized by one factor (`data.factor_resize`), like the image.

        Raises:
            ValueError: an image was not resized to INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST, or not by
                `data.factor_resize`.
        """
        results = []
        for i, x in enumerate(batched_inputs):
            if detected_instances is not None:
                x = {**x, "detections": detected_instances[i]}
            frame = self._frame(x)
            _check_mapper(x, frame)
            (result,) = super().inference([_in_original_pixels(x, frame)], do_postprocess=False)
            results.append(_reported(result, frame, in_image=do_postprocess))
        return results

    def _frame(self, x: dict[str, Any]) -> ImageFrame:
        # In tracing the sizes are tensors, which can't be rounded.
        height, width = (int(length) for length in x["image"].shape[-2:])
        original = (x.get("height", height), x.get("width", width))
        return ImageFrame.of(original, (height, width), self.min_size, self.max_size)

    def _entities(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, features: dict[str, Tensor]
    ) -> list[Instances]:
        (x,) = batched_inputs
        frame = self._frame(x)
        if self.task != "sgdet":
            require_instances(batched_inputs)
            found = given_entities(x["instances"].to(self.device))
            if self.task == "sgcls":
                self._classify_in_image(features, found, frame)
        elif "detections" in x:
            found = x["detections"].to(self.device)
        else:
            (proposals,), _ = self.proposal_generator(images, features, None)
            height, width = images.tensor.shape[-2:]
            enough = self.relation_head.has_pair
            found = self.roi_heads.detect(features, proposals, frame, (height, width), enough)
        return [found]

    def _entity_batch(
        self, batched_inputs: list[dict[str, Any]], images: ImageList, entities: list[Instances]
    ) -> EntityBatch:
        """The entities in pixels of the image, with scaled regions and the size of the padded input."""
        (x,) = batched_inputs
        batch = entity_batch(entities)
        return replace(
            batch,
            regions=pooled_regions(batch.boxes, self._frame(x).scale),
            image_sizes=batch.boxes.new_tensor([images.tensor.shape[-2:]]),
        )

    def _classify_in_image(self, features: dict[str, Tensor], found: Instances, frame: ImageFrame) -> None:
        regions = Boxes(pooled_regions(found.pred_boxes.tensor, frame.scale))
        (probs,) = class_probabilities(
            self.roi_heads, features, [Instances(frame.original, pred_boxes=regions)]
        )
        found.scores, found.pred_classes = probs[:, :-1].max(dim=1)


def refuse_published_parts(cfg: CfgNode) -> None:
    """Refuses the parts of PublishedRelDN, and its mapper, in a config of another meta-architecture.

    Settings that Detectron2 has, too, such as the type of the pooler, may have any value there.

    Raises:
        ValueError: the config names such parts. The message has their keys.
    """
    own = {key: x for key, x in PUBLISHED_PARTS.items() if key.endswith((".NAME", ".RELDN_RESIZE_TEST"))}
    found = [f"{key} {x}" for key, x in own.items() if _value(cfg, key) == x]
    if found:
        raise ValueError(
            f"{', '.join(found)}: only MODEL.META_ARCHITECTURE PublishedRelDN has this, and it is "
            f"{cfg.MODEL.META_ARCHITECTURE}. Take a config without the settings of configs/base/"
            "published_conventions.yaml, such as those in configs/vrd, vg and openimages"
        )


def _value(cfg: CfgNode, key: str) -> Any:
    value = reduce(getattr, key.split("."), cfg)
    return list(value) if isinstance(value, tuple) else value


def _check_mapper(x: dict[str, Any], frame: ImageFrame) -> None:
    """Refuses an image that a mapper has resized in whole grey levels, as Detectron2's does."""
    if "file_name" in x and x["image"].dtype == torch.uint8 and frame.network != frame.original:
        raise ValueError(
            f"{x['file_name']} of (height, width) {frame.original} came as {frame.network} in whole grey "
            "levels, as Detectron2 resizes: PublishedRelDN needs RelationDatasetMapper with "
            "INPUT.RELDN_RESIZE_TEST factor"
        )


def _in_original_pixels(x: dict[str, Any], frame: ImageFrame) -> dict[str, Any]:
    """Returns the input with the boxes of "instances" and "detections" in pixels of the original image."""
    moved = dict(x)
    for key, name in _BOXES_OF.items():
        if key in x:
            fields = x[key].get_fields()
            boxes = Boxes(frame.given_in_image(fields[name].tensor))
            moved[key] = Instances(frame.original, **{**fields, name: boxes})
    return moved


def _reported(result: dict[str, Any], frame: ImageFrame, *, in_image: bool) -> dict[str, Any]:
    """The result with inclusive boxes, in pixels of the image or of the network input."""
    size, scale = (frame.original, 1.0) if in_image else (frame.network, frame.scale)
    reported = dict(result)
    for key, found in result.items():
        if isinstance(found, Instances):
            fields = dict(found.get_fields())
            if "pred_boxes" in fields:
                boxes = inclusive(fields["pred_boxes"].tensor)
                # A detection may be thinner than a pixel.
                boxes = torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], dim=1)
                fields["pred_boxes"] = Boxes(boxes * scale)
            reported[key] = Instances(size, **fields)
    return reported
