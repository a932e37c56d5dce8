"""Converts checkpoints of the paper's authors, and detectors of Detectron.pytorch, for a config."""

from functools import reduce
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from reldn_d2.checkpoint.finite import not_finite, refuse_not_finite, refuse_other_types
from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers import AuthorsArchitecture, convert, detector_of
from reldn_d2.checkpoint.predicate_tables import with_dense_tables
from reldn_d2.modeling.published import PUBLISHED_PIXELS

from .evaluate import check_classes
from .yaml import is_relation_config

_ANCHOR_SIZES = [32, 64, 128, 256, 512]


def convert_authors_checkpoint(
    source: Path, target: Path, cfg: CfgNode, config_file: str, *, detector: bool = False
) -> str:
    """Converts a checkpoint, and saves it with the names of the classes of the config's test sets.

    Args:
        source: the authors' file.
        target: checkpoint to write.
        cfg: config of the model that the file fits. It is not changed.
        config_file: its file, for messages.
        detector: whether to convert only the detector of RelDN, to the detector of the config.

    Returns:
        What the file holds, and the number of tensors, in words.

    Raises:
        ValueError: the file can't be read as weights, or does not fit the config. The message names both.
        OSError: the file can't be read, or the checkpoint can't be written.
    """
    cfg = cfg.clone()
    weights = read_checkpoint(source)["model"]
    if detector:
        weights = detector_of(weights)
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    refuse_not_finite(not_finite(weights), weights, str(source))
    try:
        architecture = AuthorsArchitecture.of(weights)
        if architecture.relations != is_relation_config(cfg):
            raise ValueError(
                f"it holds {architecture}, and MODEL.META_ARCHITECTURE of the config is "
                f"{cfg.MODEL.META_ARCHITECTURE}: give the config of the same stage, or convert only the "
                "detector of RelDN with --detector"
            )
        vocabulary = check_classes(cfg, cfg.DATASETS.TEST)
        like = model_without_memory(cfg)
        converted = convert(weights, like)
        refuse_other_types(converted, like, "it")
        check_config(cfg, architecture)
    except ValueError as error:
        raise ValueError(f"{source} for {config_file}: {error}") from error
    # For detectors alone there is only one set of conventions.
    conventions = "published" if architecture.relations else None
    write_weights(target, converted, vocabulary, conventions=conventions)
    return f"{architecture}, {len(converted)} tensors"


def required_settings(architecture: AuthorsArchitecture) -> dict[str, Any]:
    """Config keys -> values that the authors' weights need. No tensor shows them."""
    expected: dict[str, Any] = {
        **PUBLISHED_PIXELS,
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
        "MODEL.ANCHOR_GENERATOR.SIZES": [_ANCHOR_SIZES]
        if architecture.is_vgg16
        else [[x] for x in _ANCHOR_SIZES],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    }
    if architecture.groups > 1:
        expected["MODEL.RESNETS.STRIDE_IN_1X1"] = False
    if architecture.relations:
        expected["MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU"] = True
    return expected


def model_without_memory(cfg: CfgNode) -> dict[str, Tensor]:
    """Returns the state dict of the config's model on the meta device, with a dense semantic table."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return with_dense_tables(build_model(cfg))


def check_config(cfg: CfgNode, architecture: AuthorsArchitecture) -> None:
    """Checks that a config has the settings that the authors' weights need.

    Raises:
        ValueError: settings differ. The message names their keys.
    """
    wrong = []
    for key, wanted in required_settings(architecture).items():
        value = reduce(getattr, key.split("."), cfg)
        if (list(value) if isinstance(value, tuple) else value) != wanted:
            wrong.append(f"{key} is {value}, not {wanted}")
    if wrong:
        raise ValueError("the config does not suit these weights: " + "; ".join(wrong))
