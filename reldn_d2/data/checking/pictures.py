"""Whether the pictures of a data set are there, can be read, and have the size that the data set says."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from tqdm import tqdm

from ..images import read_image, upright_size
from .checks import of_images
from .problems import Problem
from .unchecked_arrays import UncheckedArrays

PictureCheck = Literal["decode", "header"]
_Size = tuple[int, int]


def check_pictures(arrays: UncheckedArrays, how: PictureCheck) -> list[Problem]:
    """Open the picture of every image whose dict is not malformed.

    Args:
        arrays: what the data set holds.
        how: "decode" reads whole pictures, as training does; "header" the beginning of each file, which says its size.

    Returns:
        Problems of the kinds "missing_image", "unreadable_image" and "image_size".
    """
    images = np.flatnonzero(arrays.well_formed).tolist()
    jobs = [(arrays.file_names[image], arrays.sizes[image].tolist()) for image in images]
    look = partial(_fault, _decoded_size if how == "decode" else upright_size)
    # Threads: most of the time goes into files and decoding, which leave Python alone.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # disable=None: a bar on a terminal, nothing in a log file
        faults = [*tqdm(pool.map(look, jobs), "pictures", len(jobs), leave=False, disable=None)]
    details: dict[str, dict[int, str]] = {}
    for image, fault in zip(images, faults, strict=True):
        if fault is not None:
            kind, detail = fault
            details.setdefault(kind, {})[image] = detail
    position = np.arange(len(arrays.image_ids))
    found = [
        of_images(arrays, kind, np.isin(position, [*of_kind]), of_kind.__getitem__)
        for kind, of_kind in details.items()
    ]
    return [problem for problem in found if problem is not None]


def _fault(size_of: Callable[[str], _Size], job: tuple[str, list[int]]) -> tuple[str, str] | None:
    """Kind and description of what is wrong with a picture, if anything."""
    file_name, expected = job
    try:
        size = size_of(file_name)
    except FileNotFoundError:
        return "missing_image", file_name
    # A damaged file may make a decoder raise anything.
    except Exception as error:
        # The message also gives a remedy, as the kind of problem does. What the decoder said is its cause.
        reason = str(error.__cause__ or error)
        return "unreadable_image", reason if file_name in reason else f"{file_name}: {reason}"
    if [*size] == expected:
        return None
    return "image_size", f"{file_name} has {size[0]} x {size[1]} pixels, not {expected[0]} x {expected[1]}"


def _decoded_size(file_name: str) -> _Size:
    height, width = read_image(file_name, "BGR").shape[:2]
    return width, height
