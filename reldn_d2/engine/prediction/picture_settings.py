"""Refuses settings of pictures with which a model would find nothing, whatever the picture shows."""

import json
import math
from collections.abc import Callable
from typing import Any

from PIL import Image

from ..parts import RunParts

# Detectron2 knows these besides PIL's modes.
_FORMATS_OF_DETECTRON2 = {"BGR", "YUV-BT.601"}


def _are_finite(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, int | float) and math.isfinite(x) for x in value)


def _are_above_0(value: Any) -> bool:
    return _are_finite(value) and all(x > 0 for x in value)


def _is_format(value: Any) -> bool:
    return value in _FORMATS_OF_DETECTRON2 or value in Image.MODES


_MEANS = ("a list of finite numbers", _are_finite)
_DEVIATIONS = ("a list of finite numbers above 0", _are_above_0)
_FORMAT = ("a format of pictures, such as BGR or RGB", _is_format)
# Key -> what its value must be, and whether it is.
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "MODEL.PIXEL_MEAN": _MEANS,
    "model.pixel_mean": _MEANS,
    "MODEL.PIXEL_STD": _DEVIATIONS,
    "model.pixel_std": _DEVIATIONS,
    "INPUT.FORMAT": _FORMAT,
    "dataloader.test.mapper.image_format": _FORMAT,
    "INPUT.MIN_SIZE_TEST": (
        "a size in pixels, or 0 for the size of the picture",
        lambda value: isinstance(value, int) and value >= 0,
    ),
    "INPUT.MAX_SIZE_TEST": ("a size in pixels", lambda value: isinstance(value, int) and value > 0),
}


def check_picture_settings(parts: RunParts) -> None:
    """Checks the settings that every picture depends on: mean, deviation, sizes and format.

    Args:
        parts: parts of the config, which may come from anybody.

    Raises:
        ValueError: a value is impossible. The message names the key.
    """
    settings = parts.settings()
    for key, (wanted, is_possible) in _CHECKS.items():
        if key in settings and not is_possible(json.loads(settings[key])):
            raise ValueError(f"{key} is {settings[key]}, which is not {wanted}: correct the config")
