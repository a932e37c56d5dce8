"""The mapper of this project: RelDN's mapper with another list of augmentations."""

from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from reldn_d2.data import RelationDatasetMapper


def build_mapper(cfg: CfgNode, is_train: bool) -> RelationDatasetMapper:
    """Detectron2's augmentations, and in training one more: darker and lighter images."""
    augmentations = detection_utils.build_augmentation(cfg, is_train)
    if is_train:
        change = cfg.SHAPES.BRIGHTNESS
        augmentations.append(T.RandomBrightness(1 - change, 1 + change))
    # Every argument of the constructor can replace what the config says.
    return RelationDatasetMapper(cfg, is_train=is_train, augmentations=augmentations)
