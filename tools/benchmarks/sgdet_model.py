"""A RelDN with real detections and predicate scores, without a whole model's weights in the repository.

Detections, semantic table and spatial module come from a committed file (`make_detections.py`). The
detections are those of a detector in four test photos of vrd_mini; the modules are those of a model without
visual module; both were trained on vrd_mini. All other weights are random. The last layers of the visual
module are zero: its work is done in full, but predicate scores are those of the trained modules.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import Tensor, nn

from reldn_d2.config import add_reldn_config
from reldn_d2.engine import load_config
from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.modeling import RelDN, RelDNHead
from reldn_d2.modeling.relation_head import entity_batch

FILE = Path(__file__).with_name("vrd_mini_detections.npz")
_VISUAL_SPREAD = 0.3
_VRD_CONFIG = Path(__file__).parents[2] / "configs" / "vrd" / "reldn_efficientnet_lite0_fpn.yaml"

Output = list[dict[str, Instances]]


def r50_config() -> CfgNode:
    """The model zoo's Faster R-CNN R-50-FPN: 256 channels and 1024 features, as in the paper's FPN models."""
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.merge_from_file(get_detectron2_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"))
    cfg.MODEL.META_ARCHITECTURE, cfg.INPUT.MIN_SIZE_TEST = "RelDN", 600
    cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 2  # as in the paper's models
    return cfg


def vrd_config() -> CfgNode:
    """The small model that this repository trains on CPUs."""
    return load_config(str(_VRD_CONFIG), ["MODEL.ROI_RELATION_HEAD.TEST.TASK", "sgdet"])


class WithDetections(RelDN):
    """A RelDN whose detector runs, but whose detections are replaced.

    Attributes:
        replacements: the detections of each image of the next batch, in pixels of the network input. They are
            used up.
    """

    replacements: list[Instances]

    @property
    def head(self) -> RelDNHead:
        """The relation head, which is RelDN's."""
        assert isinstance(self.relation_head, RelDNHead)
        return cast(RelDNHead, self.relation_head)

    def _detect(self, images: Any, features: Any) -> list[Instances]:
        super()._detect(images, features)
        count = len(images)  # a large batch comes in parts
        used, self.replacements = self.replacements[:count], self.replacements[count:]
        return [found.to(self.device) for found in used]


class RelationStage:
    """One photo: its feature maps, its detections, and two ways to rank their pairs."""

    @torch.no_grad()
    def __init__(self, model: WithDetections, detections: Instances) -> None:
        """Computes the feature maps.

        Args:
            model: model from `build`.
            detections: detections of one photo, in pixels of the network input.
        """
        height, width = detections.image_size
        image = torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(0))
        self.inputs = [{"image": image.to(torch.uint8), "height": height, "width": width}]
        assert model.relation_backbone is not None
        self.model, self.detections = model, detections
        images = model.preprocess_image(self.inputs)
        self.features = model.backbone(images.tensor)
        self.relation_features = model.relation_backbone(images.tensor)

    @torch.no_grad()
    def region_features(self, boxes: Tensor) -> Tensor:
        """Predicate features of the given regions."""
        classifier = self.model.head.pair_classifier
        assert classifier.predicate_head is not None and classifier.pooler is not None
        maps = [self.relation_features[name] for name in classifier.in_features]
        features: Tensor = classifier.predicate_head(classifier.pooler(maps, [Boxes(boxes)]))
        return features

    @torch.no_grad()
    def run(self, every_pair: bool) -> Output:
        """Ranks relationships from the feature maps and detections.

        Args:
            every_pair: score every pair instead of stopping early.
        """
        with self._selection(every_pair):
            result: Output = self.model.relation_head.inference(
                self.features, self.relation_features, entity_batch([self.detections]), entities_given=False
            )
        return result

    def end_to_end(self, every_pair: bool) -> Output:
        """The whole model. Its untrained detector runs, but its detections are replaced by those of the file.

        Args:
            every_pair: as in `run`.
        """
        self.model.replacements = [self.detections]
        with self._selection(every_pair):
            result: Output = self.model.inference(self.inputs)
        return result

    def _selection(self, every_pair: bool) -> AbstractContextManager[Any]:
        stops = self.model.relation_head.stops_early and not every_pair
        return patch.object(self.model.relation_head, "stops_early", stops)


def build(cfg: CfgNode, device: str = "cpu") -> WithDetections:
    """The model of a config with the file's classes, its semantic table and its spatial module."""
    torch.manual_seed(0)
    arrays = np.load(FILE)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(arrays["prior_row"])
    cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = arrays["prior_rows"].shape[1] - 1
    model: WithDetections = build_model(cfg).eval()
    model.__class__ = WithDetections  # a benchmark needs no registered meta-architecture
    classifier = model.head.pair_classifier
    with torch.no_grad():
        visual = classifier.visual
        assert visual is not None and visual.score is not None
        silenced: list[Any] = [*visual.output_layers()]
        # Proposals are the anchors. Random proposals would leave hardly a box for the detector's box head.
        silenced.append(model.proposal_generator.rpn_head.anchor_deltas)
        for layer in silenced:
            torch.nn.init.zeros_(layer.weight)
        trained = {
            name: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("spatial.")
        }
        trained["semantic.log_prior"] = torch.from_numpy(arrays["prior_rows"][arrays["prior_row"]])
        missing, unexpected = classifier.load_state_dict(trained, strict=False)
        assert not unexpected and all(not name.startswith(("spatial", "semantic")) for name in missing)
    return model


@torch.no_grad()
def give_pixels_a_say(model: WithDetections, inputs: list[dict[str, Any]]) -> None:
    """Makes the visual module's last layers random, so that scores show whether features are right.

    Args:
        model: model from `build`, with `replacements` for the inputs.
        inputs: images. On the first regions of these, the logits of each layer get a standard deviation of
            `_VISUAL_SPREAD`, which changes the order of the triplets, but not how confident scores are.
    """
    visual = model.head.pair_classifier.visual
    assert visual is not None
    layers = visual.output_layers()
    outputs: dict[nn.Module, Tensor] = {}
    hooks = [layer.register_forward_hook(lambda *x: outputs.setdefault(x[0], x[2])) for layer in layers]
    for layer in layers:
        torch.nn.init.normal_(layer.weight)
    model.inference(inputs)
    for layer, hook in zip(layers, hooks, strict=True):
        layer.weight.mul_(_VISUAL_SPREAD / outputs[layer].std())
        hook.remove()


def photos(short_side: int) -> list[Instances]:
    """Detections of each photo, in pixels of the network input."""
    arrays = np.load(FILE)
    end = np.cumsum(arrays["counts"])
    return [
        _photo(arrays, slice(stop - count, stop), tuple(size), short_side)
        for stop, count, size in zip(end, arrays["counts"], arrays["sizes"], strict=True)
    ]


def _photo(arrays: dict[str, NDArray[Any]], rows: slice, size: tuple[int, int], short_side: int) -> Instances:
    detections = Instances(
        size,
        pred_boxes=Boxes(torch.from_numpy(arrays["boxes"][rows])),
        scores=torch.from_numpy(arrays["scores"][rows]),
        pred_classes=torch.from_numpy(arrays["classes"][rows]),
    )
    scale = short_side / min(size)
    return resized(detections, (round(size[0] * scale), round(size[1] * scale)))


def resized(detections: Instances, size: tuple[int, int]) -> Instances:
    """The same detections in an image of another (height, width)."""
    height, width = detections.image_size
    boxes = detections.pred_boxes.clone()
    boxes.scale(size[1] / width, size[0] / height)
    return Instances(size, pred_boxes=boxes, scores=detections.scores, pred_classes=detections.pred_classes)
