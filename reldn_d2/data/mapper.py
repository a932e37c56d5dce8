"""The mapper: turns a dataset dict into the model's input."""

import logging
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import Tensor

from reldn_d2.structures.dataset_dicts import (
    DatasetDict,
    crowd_flags,
    entity_boxes,
    entity_classes,
    relation_rows,
)

from .factor_resize import ByFactor, ResizeByFactor
from .images import check_size, read_image
from .pixels import UnusablePictureError

logger = logging.getLogger(__name__)

# Resized to 50 pixels or more, only a picture with a side of so many times the other has no pixel left there.
_THIN = 100
_MADE_BY_MAPPER = ("annotations", "relations", "detections")


class RelationDatasetMapper:
    """Maps a dataset dict to the model's input. The dict is never modified.

    The output keeps the other keys of the dict and adds:

    * `"image"`: (3, H, W) uint8 tensor after augmentation; float32 if the format is "YUV-BT.601", or after
      `ResizeByFactor`;
    * `"instances"`: `Instances` of size (H, W) with `gt_boxes` (clipped to the image) and `gt_classes`;
    * `"relations"`: (R, 3) long tensor of rows (subject, object, predicate); subject and object are rows of
      `instances`. Without relationships, its shape is (0, 3);
    * `"lost_relations"`, if it is not 0: how many relationships the augmentation dropped;
    * `"detections"`, if the dict has precomputed ones: `Instances` with `pred_boxes`, `scores` and
      `pred_classes`. The boxes are transformed with the image and clipped; empty ones are dropped.

    In training, crowd annotations and boxes that a crop left empty are dropped, together with their
    relationships. The other relationships are renumbered; an image may have none left. At test time, row i of
    `instances` is always annotation i. If the dict has no `"annotations"`, the output has neither
    `"instances"` nor `"relations"`. If the dict has no `"relations"`, the output has none either.
    """

    @configurable
    def __init__(
        self, is_train: bool, *, augmentations: list[T.Augmentation | T.Transform], image_format: str
    ) -> None:
        """Create a mapper.

        Args:
            is_train: True for training, where annotations may be dropped; False keeps every annotation.
            augmentations: applied in order to the image and to all boxes.
            image_format: a format of `detectron2.data.detection_utils.read_image`, for example "BGR".
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        mode = "training" if is_train else "inference"
        logger.info("Augmentations used in %s: %s", mode, augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments of the constructor, from Detectron2's keys under `INPUT` and RELDN_RESIZE_TEST."""
        if not is_train and getattr(cfg.INPUT, "RELDN_RESIZE_TEST", "sides") == "factor":
            augmentations = [ResizeByFactor(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]
        else:
            augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {"is_train": is_train, "augmentations": augmentations, "image_format": cfg.INPUT.FORMAT}

    def __call__(self, dataset_dict: DatasetDict) -> DatasetDict:
        """Map a dataset dict.

        Raises:
            FileNotFoundError: the image file does not exist.
            ValueError: the image cannot be decoded or resized, the image has another size than the dict says,
                or the relationships do not fit the annotations.
        """
        return self.map_picture(read_image(dataset_dict["file_name"], self.image_format), dataset_dict)

    def map_picture(self, image: NDArray[np.uint8], dataset_dict: DatasetDict) -> DatasetDict:
        """Map a dataset dict whose picture was read already.

        Args:
            image: (H, W, channels) picture in `image_format`.
            dataset_dict: the dict; it needs no "file_name".

        Raises:
            ValueError: see `__call__`.
        """
        output = {key: value for key, value in dataset_dict.items() if key not in _MADE_BY_MAPPER}
        output["width"], output["height"] = check_size(dataset_dict, image)

        augmented = T.AugInput(image)
        transforms = _augment(self.augmentations, augmented, output.get("file_name"))
        image = augmented.image
        output["image"] = _as_input(image)

        size = (image.shape[0], image.shape[1])
        if "annotations" in dataset_dict:
            instances = output["instances"] = _ground_truth(dataset_dict, transforms, size)
            if "relations" in dataset_dict:
                output["relations"] = torch.from_numpy(relation_rows(dataset_dict))
            if self.is_train:
                _, nonempty = utils.filter_empty_instances(instances, return_mask=True)
                _drop(output, nonempty & ~torch.from_numpy(crowd_flags(dataset_dict)))
        if "detections" in dataset_dict:
            output["detections"] = _detections(dataset_dict["detections"], transforms, size)
        return output


class NamedFormatsMapper(DatasetMapper):
    """Detectron2's mapper, which also reads masks and keypoints, with the pictures of `read_image`."""

    def __call__(self, dataset_dict: DatasetDict) -> DatasetDict:
        """Map a dataset dict, as Detectron2's mapper does. The dict is not modified.

        Raises:
            FileNotFoundError: the image file does not exist.
            ValueError: the image can't be decoded or resized, or has another size than the dict says.
        """
        output: DatasetDict = deepcopy(dataset_dict)
        image = read_image(output["file_name"], self.image_format)
        output["width"], output["height"] = check_size(output, image)
        labels = output.pop("sem_seg_file_name", None)
        augmented = T.AugInput(image, sem_seg=None if labels is None else read_image(labels, "L").squeeze(2))
        transforms = _augment(self.augmentations, augmented, output["file_name"])
        size = augmented.image.shape[:2]
        output["image"] = _as_input(augmented.image)
        if augmented.sem_seg is not None:
            output["sem_seg"] = torch.as_tensor(augmented.sem_seg.astype(np.int64))
        if self.proposal_topk is not None:
            utils.transform_proposals(output, size, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            output.pop("annotations", None)
        elif "annotations" in output:
            self._transform_annotations(output, transforms, size)
        return output


def _as_input(image: NDArray[Any]) -> Tensor:
    """The (3, H, W) tensor of a (H, W, 3) picture: uint8, or float32 of "YUV-BT.601", which is float64."""
    tensor = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor.float() if tensor.is_floating_point() else tensor


def _augment(augmentations: T.AugmentationList, given: T.AugInput, file_name: str | None) -> T.TransformList:
    """Augments a picture in place.

    Raises:
        UnusablePictureError: it is so thin that no pixel of its shorter side is left when it is resized.
    """
    height, width = given.image.shape[:2]
    try:
        return augmentations(given)
    except (ValueError, ZeroDivisionError, RuntimeError) as error:
        # Of other pictures an augmentation fails for another reason.
        if max(height, width) < _THIN * min(height, width):
            raise
        raise UnusablePictureError(
            f"an image of {width} x {height} pixels can't be resized for this model ({error}): crop it, or "
            "leave it out",
            file_name,
        ) from error


def _drop(output: DatasetDict, keep: Tensor) -> None:
    """Drops entities of the mapper's output with their relationships, and counts these.

    Args:
        output: the output, which is changed.
        keep: (E,) bool, whether each entity is kept.
    """
    if keep.all():
        return
    output["instances"] = output["instances"][keep]
    if "relations" in output:
        rows = output["relations"]
        output["relations"] = renumber_relations(rows, keep)
        lost = len(rows) - len(output["relations"])
        if lost:
            output["lost_relations"] = lost


def renumber_relations(relations: Tensor, keep: Tensor) -> Tensor:
    """Drop the relationships of dropped entities, and renumber the others.

    Args:
        relations: (R, 3) long rows (subject, object, predicate) over E entities.
        keep: (E,) bool, whether each entity is kept.

    Returns:
        (R', 3) long rows of the relationships whose subject and object are both kept, in their old order.
        Subject and object are numbers among the kept entities.
    """
    kept_relations = relations[keep[relations[:, 0]] & keep[relations[:, 1]]]
    new_row = keep.cumsum(0) - 1
    return torch.cat([new_row[kept_relations[:, :2]], kept_relations[:, 2:]], dim=1)


def _transform_boxes(boxes: NDArray[np.float64], transforms: T.TransformList, size: tuple[int, int]) -> Boxes:
    """(K, 4) XYXY boxes of the original image, moved with the image and clipped to its (height, width)."""
    moved = Boxes(torch.as_tensor(transforms.apply_box(boxes), dtype=torch.float32).reshape(-1, 4))
    # Of an image whose sides are rounded, the boxes are not.
    exact = [x.exact_size for x in transforms.transforms if isinstance(x, ByFactor)]
    moved.clip(exact[0] if exact else size)
    return moved


def _ground_truth(dataset_dict: DatasetDict, transforms: T.TransformList, size: tuple[int, int]) -> Instances:
    instances = Instances(size)
    instances.gt_boxes = _transform_boxes(entity_boxes(dataset_dict), transforms, size)
    instances.gt_classes = torch.tensor(entity_classes(dataset_dict))  # a copy, as the dict is never modified
    return instances


def _detections(
    given: dict[str, NDArray[Any]], transforms: T.TransformList, size: tuple[int, int]
) -> Instances:
    instances = Instances(size)
    boxes = np.asarray(given["boxes"], dtype=np.float64).reshape(-1, 4)
    instances.pred_boxes = _transform_boxes(boxes, transforms, size)
    instances.scores = torch.as_tensor(np.asarray(given["scores"], dtype=np.float32))
    instances.pred_classes = torch.as_tensor(np.asarray(given["classes"], dtype=np.int64))
    return instances[instances.pred_boxes.nonempty()]
