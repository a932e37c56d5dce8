"""Runs a detector over a data set once, so that relation training and evaluation do not have to."""

import hashlib
import json
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import Tensor, nn

from reldn_d2.data import save_detections
from reldn_d2.utils.progress import progress

from .evaluate import check_classes, parts_of
from .parts import Config
from .run_identity import detector_digest


def detector_identity(cfg: Config, model: nn.Module) -> str:
    """Digest of a detector's weights and of the config keys that its output depends on.

    Args:
        cfg: config of the detector, in YAML or Python.
        model: the detector with its weights.
    """
    # JSON writes a tuple as a list, as YAML files do.
    settings = json.dumps(parts_of(cfg).detector_settings(), sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_is_detector(cfg: Config) -> None:
    """Checks that a config is of a detector.

    Raises:
        ValueError: it is of RelDN.
    """
    if parts_of(cfg).is_relation_model:
        raise ValueError(
            "detections come from a detector: give the config of stage 1 (META_ARCHITECTURE: "
            "GeneralizedRCNN, or RetinaNet) as --config-file. The weights may be those of "
            "RelDN, which contain its detector"
        )


@torch.no_grad()
def cache_detections(cfg: Config, model: nn.Module, dataset_name: str, path: Path) -> None:
    """Writes the detections of a data set to a file, which later runs read instead of running the detector.

    The file is for DATASETS.DETECTION_FILES_TRAIN or _TEST, in a config in Python for
    `datasets.train_detections` or `test_detections`.

    Several processes share the images, and the first one writes the file. All must call this.

    Args:
        cfg: config of the detector: of stage 1, or of a single-stage detector.
        model: the detector, in eval mode.
        dataset_name: name of a registered data set.
        path: file to write, atomically.

    Raises:
        ValueError: the config is of RelDN, whose entities depend on the task; or the data set has other
            classes than the config, the model or the config's test sets, which the checkpoint was compared
            with; or the model finds classes that the data set does not have, or no "instances" at all.
    """
    check_is_detector(cfg)
    parts = parts_of(cfg)
    classes = check_classes(cfg, (dataset_name, *parts.test_datasets)).thing_classes
    # A detector of another project may have its number of classes in a key that only it knows.
    number = getattr(model, "num_classes", None)
    if isinstance(number, int) and number != len(classes):
        raise ValueError(
            f"the detector {type(model).__name__} has {number} classes, but data set {dataset_name} has "
            f"{len(classes)}: give a detector of these classes, or name another data set"
        )
    found = {}
    for batch in progress(parts.test_loader(dataset_name), f"batches of {dataset_name}"):
        with parts.autocast():
            outputs = model(batch)
        for inputs, output in zip(batch, outputs, strict=True):
            if "instances" not in output:
                raise ValueError(
                    f"the output of {type(model).__name__} has no 'instances', only {', '.join(output)}: "
                    "give a detector whose output is that of Detectron2's models"
                )
            instances = output["instances"].to("cpu")
            _check_range(instances.pred_classes, len(classes), f"{dataset_name}, image {inputs['image_id']}")
            found[inputs["image_id"]] = (
                instances.pred_boxes.tensor.numpy(),
                instances.scores.float().numpy(),  # NumPy has no bfloat16
                instances.pred_classes.numpy(),
            )
    gathered = comm.gather(found)
    if comm.is_main_process():
        found = {image: detections for share in gathered for image, detections in share.items()}
        identity, weights = detector_identity(cfg, model), detector_digest(model)
        save_detections(
            path,
            found,
            classes,
            made_by=identity,
            detector_weights=weights,
            dataset_name=dataset_name,
        )


def _check_range(found: Tensor, num_classes: int, where: str) -> None:
    wrong = (found < 0) | (found >= num_classes)
    if wrong.any():
        raise ValueError(
            f"{where}: the detector found class {int(found[wrong][0])}, but the data set has {num_classes} "
            "classes, from 0: give a detector of these classes, or name another data set"
        )
