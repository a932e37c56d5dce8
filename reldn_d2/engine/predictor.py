"""Relationships in single images: the twin of Detectron2's DefaultPredictor."""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import build_model
from detectron2.structures import Instances

from reldn_d2.checkpoint import RelationCheckpointer

from .setup import is_relation_model, vocabulary_of


class RelationPredictor:
    """Finds the relationships of one image with a trained RelDN, on the device of the config.

    Attributes:
        thing_classes, predicate_classes: names, from the checkpoint; a checkpoint without them takes those of
            the first data set in DATASETS.TEST.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: of RelDN, with MODEL.WEIGHTS. The task is always SGDET.

        Raises:
            ValueError: no weights, or weights that do not fit the config.
        """
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("there is nothing to predict with: give a trained checkpoint as MODEL.WEIGHTS")
        if not is_relation_model(cfg):
            raise ValueError("MODEL.META_ARCHITECTURE is not RelDN: give config and weights of stage 2")
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = "sgdet"
        self._model = build_model(cfg).eval()
        checkpointer = RelationCheckpointer(self._model, complete=True)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        vocabulary = checkpointer.vocabulary or vocabulary_of(cfg.DATASETS.TEST[0])
        self.thing_classes = vocabulary.thing_classes
        self.predicate_classes = vocabulary.predicate_classes
        self._resize = ResizeShortestEdge(
            [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST
        )
        self._to_rgb = cfg.INPUT.FORMAT == "RGB"

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> dict[str, Instances]:
        """
        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.

        Returns:
            "instances" and "relations" as `RelDN.inference` describes them, in pixels of the image.
        """
        height, width = image.shape[:2]
        pixels = image[:, :, ::-1] if self._to_rgb else image
        pixels = self._resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        inputs: dict[str, Any] = {"image": tensor, "height": height, "width": width}
        result: dict[str, Instances] = self._model([inputs])[0]
        return result
