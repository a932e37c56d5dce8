"""Predicts relationships in single images, as Detectron2's DefaultPredictor predicts objects."""

from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Vocabulary

from .evaluate import parts_of
from .parts import Config, RunParts
from .pretrained import PretrainedModel
from .run import check_vocabulary


class RelationPredictor(PretrainedModel):
    """Finds the relationships of one image with a trained RelDN, on the device of the config.

    Attributes:
        model: the model in eval mode.
        parts: the parts of its config.
        thing_classes, predicate_classes: class names of the checkpoint; if it has none, those of the config's
            first test set, else of its first training set.
    """

    def __init__(self, cfg: Config) -> None:
        """Builds the model and loads its weights.

        Args:
            cfg: config of RelDN, in YAML or Python, with weights. The task is always "sgdet".

        Raises:
            ValueError: the config is of a detector, it names no weights, they do not fit it, or neither the
                checkpoint nor the config names the classes.
        """
        parts = parts_of(cfg)
        if not parts.weights:
            raise ValueError(
                f"there is nothing to predict with: give a trained checkpoint as {parts.keys.weights}"
            )
        model = parts.model().eval() if parts.is_relation_model else None
        if not isinstance(model, RelDN):
            raise ValueError("the config is of a detector, not of RelDN: give config and weights of stage 2")
        model.task = "sgdet"
        checkpointer = RelationCheckpointer(model, complete=True)
        checkpointer.load(parts.weights)
        vocabulary = checkpointer.vocabulary or _vocabulary_of_config(parts)
        self.thing_classes, self.predicate_classes = vocabulary.thing_classes, vocabulary.predicate_classes
        mapper = parts.test_mapper()
        self.model, self.parts, self._augmentations = model, parts, mapper.augmentations
        self._to_rgb = mapper.image_format == "RGB"

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> dict[str, Any]:
        """Predicts the relationships of one image.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.

        Returns:
            "instances", "relations" and "task" as `RelDN.inference` describes them, in pixels of the image.

        Raises:
            ValueError: the image is no such array.
        """
        wanted = "(H, W, 3) uint8 array, BGR"
        if not isinstance(image, np.ndarray):
            # cv2.imread returns None for a file that it can't read.
            raise ValueError(f"the image must be a {wanted}, not {type(image).__name__}: check its path")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"the image must be a {wanted}, not {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        augmented = T.AugInput(image[:, :, ::-1] if self._to_rgb else image)
        self._augmentations(augmented)
        tensor = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        inputs: dict[str, Any] = {"image": tensor, "height": height, "width": width}
        result: dict[str, Any] = self.model([inputs])[0]
        return result


def _vocabulary_of_config(parts: RunParts) -> Vocabulary:
    names = parts.test_datasets or parts.train_datasets
    if not names:
        raise ValueError(
            f"neither the checkpoint {parts.weights} nor the config names the classes: name a registered "
            f"data set of these classes as {parts.keys.test_datasets}, or add the names to the checkpoint "
            '("A checkpoint without class names" in docs/checkpoints.md)'
        )
    return check_vocabulary(parts, names[:1])
