"""Running a detector once over a data set, so that relation training and evaluation need not run it again."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn
from tqdm import tqdm

from reldn_d2.data import save_detections

from .setup import check_classes, is_relation_model
from .trainer import Trainer


@torch.no_grad()
def cache_detections(cfg: CfgNode, model: nn.Module, dataset_name: str, path: Path) -> None:
    """Writes a detector's outputs for DATASETS.DETECTION_FILES_TRAIN or _TEST.

    Args:
        cfg: of the detector: stage 1, or a single-stage one.
        model: the detector, in eval mode.
        dataset_name: a registered data set.
        path: file to write, atomically.

    Raises:
        ValueError: the config is of RelDN, whose entities depend on the task; or the classes are not those of the config
            or of DATASETS.TEST, which the checkpoint was compared with.
    """
    if is_relation_model(cfg):
        raise ValueError(
            "detections come from a detector: give the config of stage 1 (META_ARCHITECTURE: GeneralizedRCNN, or RetinaNet)"
        )
    classes = check_classes(cfg, (dataset_name, *cfg.DATASETS.TEST)).thing_classes
    found = {}
    for batch in tqdm(Trainer.build_test_loader(cfg, dataset_name), desc=f"detecting in {dataset_name}"):
        for inputs, output in zip(batch, model(batch), strict=True):
            instances = output["instances"].to("cpu")
            found[inputs["image_id"]] = (
                instances.pred_boxes.tensor.numpy(),
                instances.scores.numpy(),
                instances.pred_classes.numpy(),
            )
    save_detections(path, found, classes)
