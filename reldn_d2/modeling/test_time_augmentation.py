"""RelDN with Detectron2's test-time augmentation of its detector."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.structures import Boxes, Instances
from torch.nn.parallel import DistributedDataParallel

from .meta_arch import RelDN


class RelDNWithTTA(GeneralizedRCNNWithTTA):
    """Detects entities in several versions of an image, and finds their relationships in the image itself.

    Detectron2's class merges the boxes of the resized and flipped versions (TEST.AUG). It takes this model's
    place in an evaluation in sgdet.
    """

    def __init__(self, cfg: CfgNode, model: RelDN, tta_mapper: Any = None, batch_size: int = 3) -> None:
        """Wraps a model.

        Args:
            cfg: config of the model.
            model: RelDN in sgdet, or wrapped for several processes.
            tta_mapper, batch_size: see `GeneralizedRCNNWithTTA`.

        Raises:
            ValueError: the task of the model is not sgdet.
        """
        reldn = model.module if isinstance(model, DistributedDataParallel) else model
        if reldn.task != "sgdet":
            raise ValueError(f"test-time augmentation is for detected entities: {reldn.task} gives the boxes")
        super().__init__(cfg, reldn.detector(), tta_mapper, batch_size)
        self.reldn = reldn

    def _inference_one_image(self, input: dict[str, Any]) -> dict[str, Any]:
        detected = super()._inference_one_image(input)["instances"]
        height, width = input["image"].shape[1:]
        boxes = Boxes(detected.pred_boxes.tensor.clone())
        boxes.scale(width / input["width"], height / input["height"])
        entities = Instances(
            (height, width), pred_boxes=boxes, pred_classes=detected.pred_classes, scores=detected.scores
        )
        kept = boxes.nonempty()
        result: dict[str, Any] = self.reldn.inference([input], [entities[kept]])[0]
        if detected.has("pred_masks"):
            result["instances"].pred_masks = detected.pred_masks[kept]
        return result
