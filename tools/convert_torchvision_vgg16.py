#!/usr/bin/env python
"""Turns torchvision's ImageNet weights of VGG-16 into a checkpoint for a detector's backbone and box head.

python tools/convert_torchvision_vgg16.py output/vgg16_imagenet.pth

downloads them (528 MB, checked by hash) into PyTorch's cache; --source takes a file that is there already. The detector
must see RGB: INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], MODEL.PIXEL_STD [58.395, 57.12, 57.375].
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

from torch import Tensor
from torchvision.models import VGG16_Weights

from reldn_d2.checkpoint.formats import read_checkpoint
from reldn_d2.checkpoint.importers import to_vgg16_detector, write_weights


def downloaded_weights() -> Mapping[str, Tensor]:
    """torchvision's weights, from PyTorch's cache or, checked, from the network.

    Raises:
        URLError: no network.
        RuntimeError: what came is not what its name says.
    """
    weights: Mapping[str, Tensor] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(
        map_location="cpu", check_hash=True, weights_only=True
    )
    return weights


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status is returned."""
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
            f"error: the download failed ({error.reason}): fetch {VGG16_Weights.IMAGENET1K_V1.url}, give --source"
        )
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")
