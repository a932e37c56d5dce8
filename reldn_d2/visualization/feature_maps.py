"""Heat maps that show where a backbone responds, as in figures 4 and 5 of the RelDN paper."""

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from torch import Tensor

from .images import Image, check_image

_COLOURS = colormaps["turbo"]


def feature_map_colours(number: int = 9) -> list[str]:
    """Colours of the heat maps as "#rrggbb", evenly spaced from the lowest to the highest response.

    Args:
        number: number of colours, at least 2.
    """
    return [to_hex(_COLOURS(i / (number - 1))) for i in range(number)]


def feature_map_overlay(
    features: Tensor,
    image: Image,
    *,
    content: tuple[float, float] = (1.0, 1.0),
    opacity: float = 0.6,
) -> Image:
    """Draw the channel mean of a feature map as a heat map over its image.

    The colours range from the lowest to the highest mean in the image. So they compare places of one map, not
    two maps. A constant map has the lowest colour everywhere.

    Args:
        features: (C, h, w) float output of a backbone for one image, on any device.
        image: (H, W, 3) uint8 RGB.
        content: shares of the map's height and width, in (0, 1], that show the image. The image begins at the
            top left; the rest is padding and is cut off. For a batch padded by Detectron2's `ImageList`, they
            are `image_sizes[i]` divided by the last two sizes of its tensor.
        opacity: opacity of the heat map, in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: a shape or range is wrong, or features are not finite.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(f"features must be (C, h, w) and not empty, not {tuple(features.shape)}")
    check_image(image)
    if not all(0 < share <= 1 for share in content) or not 0 <= opacity <= 1:
        raise ValueError(f"content {content} must be in (0, 1] and opacity {opacity} in [0, 1]")
    mean = features.detach().float().mean(dim=0).cpu().numpy()
    if not np.isfinite(mean).all():
        raise ValueError("features hold NaN or infinity; the model that made them has diverged")
    height, width = image.shape[:2]
    padded = (max(round(width / content[1]), width), max(round(height / content[0]), height))
    heat = np.asarray(cv2.resize(mean, padded, interpolation=cv2.INTER_LINEAR))[:height, :width]
    heat = (heat - heat.min()) / max(float(heat.max() - heat.min()), 1e-12)
    colours = _COLOURS(heat)[..., :3] * 255
    return np.asarray(np.rint((1 - opacity) * image + opacity * colours), dtype=np.uint8)
