#!/usr/bin/env python
"""Converts torchvision's ImageNet weights of VGG-16 to a checkpoint for a detector's backbone and box head.

python tools/convert_torchvision_vgg16.py output/vgg16_imagenet.pth

downloads the weights (528 MB, checked by hash) to PyTorch's cache; --source reads a local file instead. The
detector needs RGB images: INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53],
MODEL.PIXEL_STD [58.395, 57.12, 57.375].
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

from torch import Tensor
from torchvision.models import VGG16_Weights

from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers import to_vgg16_detector


def downloaded_weights() -> Mapping[str, Tensor]:
    """Returns torchvision's weights, from PyTorch's cache or from the network with a check of their hash.

    Raises:
        URLError: the download failed.
        RuntimeError: the hash of the downloaded file differs.
    """
    weights: Mapping[str, Tensor] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(
        map_location="cpu", check_hash=True, weights_only=True
    )
    return weights


def main(arguments: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument("--source", type=Path, help="torchvision's .pth file, instead of the download")
    args = parser.parse_args(arguments)
    weights = read_checkpoint(args.source)["model"] if args.source else downloaded_weights()
    write_weights(args.target, to_vgg16_detector(weights))
    print(f"wrote {args.target}: MODEL.WEIGHTS of a detector with build_vgg16_backbone and VGGBoxHead")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except URLError as error:
        sys.exit(
            f"error: the download failed ({error.reason}): fetch {VGG16_Weights.IMAGENET1K_V1.url} and give "
            "it as --source"
        )
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")
