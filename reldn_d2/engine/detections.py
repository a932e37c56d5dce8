"""Running a detector once over a data set, so that relation training and evaluation need not run it again."""

import hashlib
import json
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from reldn_d2.data import save_detections

from .evaluate import check_classes, parts_of
from .parts import Config


def detector_identity(cfg: Config, model: nn.Module) -> str:
    """What a detector's output depends on beside the images: a digest of its weights and of the config keys that matter.

    Args:
        cfg: of the detector, in YAML or Python.
        model: with its weights.
    """
    # As JSON, in which a tuple is the list that it becomes in a YAML file.
    settings = json.dumps(parts_of(cfg).detector_settings(), sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def cache_detections(cfg: Config, model: nn.Module, dataset_name: str, path: Path) -> None:
    """Writes a detector's outputs for DATASETS.DETECTION_FILES_TRAIN or _TEST (`datasets.train_detections`, `test_detections`).

    Args:
        cfg: of the detector: stage 1, or a single-stage one.
        model: the detector, in eval mode.
        dataset_name: a registered data set.
        path: file to write, atomically.

    Raises:
        ValueError: the config is of RelDN, whose entities depend on the task; or the classes are not those of the config
            or of its test sets, which the checkpoint was compared with.
    """
    parts = parts_of(cfg)
    if parts.is_relation_model:
        raise ValueError(
            "detections come from a detector: give the config of stage 1 (META_ARCHITECTURE: GeneralizedRCNN, or RetinaNet)"
        )
    classes = check_classes(cfg, (dataset_name, *parts.test_datasets)).thing_classes
    found = {}
    for batch in tqdm(parts.test_loader(dataset_name), desc=f"detecting in {dataset_name}"):
        for inputs, output in zip(batch, model(batch), strict=True):
            instances = output["instances"].to("cpu")
            found[inputs["image_id"]] = (
                instances.pred_boxes.tensor.numpy(),
                instances.scores.numpy(),
                instances.pred_classes.numpy(),
            )
    save_detections(path, found, classes, made_by=detector_identity(cfg, model))
