#!/usr/bin/env python
"""Turns a checkpoint of the paper's authors, or a detector of Detectron.pytorch, into one of this package.

python tools/convert_checkpoint.py --input model_step62722.pth --config-file configs/published/vg_x101_fpn.yaml \\
    --output output/published/vg_x101_fpn.pth

What the file holds is found out from its names and shapes: VGG-16 or a ResNet or ResNeXt with FPN, RelDN or a detector
alone. Every tensor must have its place in the model of the config, and every parameter there must get one. The names
of classes and predicates are those of the config's first test data set; see docs/importing_weights.md.
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

from reldn_d2.checkpoint.formats import read_checkpoint
from reldn_d2.checkpoint.importers import (
    PublishedArchitecture,
    convert,
    detector_of,
    write_weights,
)
from reldn_d2.engine import check_classes, import_data_sets, load_config
from reldn_d2.engine.setup import is_relation_model

ANCHOR_SIZES = [32, 64, 128, 256, 512]


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="the published .pth file")
    parser.add_argument("--config-file", required=True, help="of the model that the file is for")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write: its MODEL.WEIGHTS")
    parser.add_argument(
        "--detector",
        action="store_true",
        help="take only the detector of RelDN, with the detector of the config",
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


def what_no_tensor_shows(architecture: PublishedArchitecture) -> dict[str, Any]:
    """Config keys that the published weights take for granted, and their values."""
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


def check_config(cfg: CfgNode, architecture: PublishedArchitecture) -> None:
    """
    Raises:
        ValueError: naming the config keys that differ from what the published weights take for granted.
    """
    wrong = []
    for key, wanted in what_no_tensor_shows(architecture).items():
        value = reduce(getattr, key.split("."), cfg)
        if (list(value) if isinstance(value, tuple) else value) != wanted:
            wrong.append(f"{key} is {value}, not {wanted}")
    if wrong:
        raise ValueError("the config does not suit these weights: " + "; ".join(wrong))


def model_without_memory(cfg: CfgNode) -> dict[str, Tensor]:
    """State dict of the config's model on the meta device."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state: dict[str, Tensor] = build_model(cfg).state_dict()
    return state


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status is returned."""
    args = parse_arguments(arguments)
    for module in args.modules:
        import_data_sets(module)
    cfg = load_config(args.config_file, args.opts)
    weights = read_checkpoint(args.input)["model"]
    if args.detector:
        weights = detector_of(weights)
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    try:
        architecture = PublishedArchitecture.of(weights)
        if architecture.relations != is_relation_model(cfg):
            raise ValueError(
                f"it holds {architecture}, and MODEL.META_ARCHITECTURE of the config is {cfg.MODEL.META_ARCHITECTURE}: "
                "give the config of the same stage; --detector takes the detector alone out of RelDN"
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
