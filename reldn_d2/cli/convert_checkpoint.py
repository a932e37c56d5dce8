"""`reldn convert checkpoint`: checkpoints of the paper's authors, and detectors of Detectron.pytorch."""

from argparse import Namespace
from functools import reduce
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from reldn_d2.checkpoint.finite import not_finite, refuse_not_finite, refuse_other_types
from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers import AuthorsArchitecture, convert, detector_of
from reldn_d2.engine import check_classes
from reldn_d2.engine.yaml import is_relation_config
from reldn_d2.utils.plain_text import say

from .common import FINISHED, load_run_config, prepare

_ANCHOR_SIZES = [32, 64, 128, 256, 512]


def required_settings(architecture: AuthorsArchitecture) -> dict[str, Any]:
    """Config keys -> values that the authors' weights need. No tensor shows them."""
    expected: dict[str, Any] = {
        "INPUT.FORMAT": "BGR",
        "MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717],
        "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
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


def model_without_memory(cfg: CfgNode) -> dict[str, Tensor]:
    """Returns the state dict of the config's model on the meta device."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state: dict[str, Tensor] = build_model(cfg).state_dict()
    return state


def run(args: Namespace) -> int:
    """Converts a checkpoint. Returns the exit status."""
    prepare(args)
    cfg = load_run_config(args).cfg
    if not isinstance(cfg, CfgNode):
        raise ValueError(f"{args.config_file}: converted checkpoints need a config in YAML")
    weights = read_checkpoint(args.input)["model"]
    if args.detector:
        weights = detector_of(weights)
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    refuse_not_finite(not_finite(weights), weights, str(args.input))
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
        raise ValueError(f"{args.input} for {args.config_file}: {error}") from error
    write_weights(args.output, converted, vocabulary)
    say(f"wrote {args.output}: {architecture}, {len(converted)} tensors")
    return FINISHED
