"""Running a detector once over a data set, so that relation training and evaluation need not run it again."""

import hashlib
import json
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn
from tqdm import tqdm

from reldn_d2.data import save_detections

from .setup import check_classes, is_relation_model
from .trainer import Trainer


def detector_identity(cfg: CfgNode, model: nn.Module) -> str:
    """What a detector's output depends on beside the images: a digest of its weights and of the config keys that matter.

    Args:
        cfg: of the detector.
        model: with its weights.
    """
    used = cfg.clone()
    used.defrost()
    used.MODEL.WEIGHTS = used.MODEL.DEVICE = ""
    # As JSON, in which a tuple is the list that it becomes in a YAML file.
    settings = json.dumps([used.MODEL, used.INPUT, used.TEST.DETECTIONS_PER_IMAGE], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


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
    save_detections(path, found, classes, made_by=detector_identity(cfg, model))
