#!/usr/bin/env python
r"""Converts checkpoints of the paper's authors, and detectors of Detectron.pytorch, to this package.

python tools/convert_checkpoint.py --input model_step62722.pth \
    --config-file configs/published/vg_x101_fpn.yaml --output output/published/vg_x101_fpn.pth

The tool finds out from names and shapes what the file contains: VGG-16, or a ResNet or ResNeXt with FPN;
RelDN, or a detector alone. Every tensor must fit a parameter of the config's model, and every parameter must
get a tensor. The names of classes and predicates are those of the config's first test data set; see
docs/importing_weights.md.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers import AuthorsArchitecture, convert, detector_of
from reldn_d2.engine import check_classes, import_data_sets
from reldn_d2.engine.yaml import is_relation_config, load_yaml_config

ANCHOR_SIZES = [32, 64, 128, 256, 512]


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="the authors' .pth file")
    parser.add_argument("--config-file", required=True, help="config of the model that the file is for")
    parser.add_argument(
        "--output", type=Path, required=True, help="checkpoint to write, for MODEL.WEIGHTS of the config"
    )
    parser.add_argument(
        "--detector",
        action="store_true",
        help="convert only the detector of RelDN, to the detector of the config",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        help="a module or .py file that registers data sets",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides of the config")
    return parser.parse_args(arguments)


def required_settings(architecture: AuthorsArchitecture) -> dict[str, Any]:
    """Config keys -> values that the authors' weights need. No tensor shows them."""
    expected: dict[str, Any] = {
        "INPUT.FORMAT": "BGR",
        "MODEL.PIXEL_MEAN": [102.9801, 115.9465, 122.7717],
        "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
        "MODEL.ANCHOR_GENERATOR.SIZES": [ANCHOR_SIZES]
        if architecture.is_vgg16
        else [[x] for x in ANCHOR_SIZES],
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


def main(arguments: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    args = parse_arguments(arguments)
    for module in args.modules:
        import_data_sets(module)
    cfg = load_yaml_config(args.config_file, args.opts)
    weights = read_checkpoint(args.input)["model"]
    if args.detector:
        weights = detector_of(weights)
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    try:
        architecture = AuthorsArchitecture.of(weights)
        if architecture.relations != is_relation_config(cfg):
            raise ValueError(
                f"it holds {architecture}, and MODEL.META_ARCHITECTURE of the config is "
                f"{cfg.MODEL.META_ARCHITECTURE}: give the config of the same stage, or convert only the "
                "detector of RelDN with --detector"
            )
        vocabulary = check_classes(cfg, cfg.DATASETS.TEST)
        converted = convert(weights, model_without_memory(cfg))
        check_config(cfg, architecture)
    except ValueError as error:
        raise ValueError(f"{args.input} for {args.config_file}: {error}") from error
    write_weights(args.output, converted, vocabulary)
    print(f"wrote {args.output}: {architecture}, {len(converted)} tensors")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
