"""The image files of a data set: where they are and how large the pictures are."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .images import upright_size

logger = logging.getLogger(__name__)


def find_images(
    names: Sequence[str],
    folders: Sequence[str | os.PathLike[str]],
    source: str,
    *,
    other_endings: bool = False,
) -> list[Path]:
    """Where each listed image is. Every folder is listed once, whatever the number of names.

    Args:
        names: file names without folder.
        folders: searched in this order.
        source: the file that lists the names, for the message.
        other_endings: whether a file of the same name with another ending will do.

    Raises:
        FileNotFoundError: an image that is in no folder, or whose other ending is ambiguous.
    """
    present: dict[str, Path] = {}
    for folder in reversed([Path(folder) for folder in folders]):
        if folder.is_dir():
            present |= {name: folder / name for name in os.listdir(folder)}
    by_stem: dict[str, list[str]] = {}
    if other_endings:
        for name in present:
            by_stem.setdefault(Path(name).stem, []).append(name)
    paths, renamed = [], []
    for name in names:
        candidates = [name] if name in present else by_stem.get(Path(name).stem, [])
        if len(candidates) != 1:
            found = f"several files of that name: {sorted(candidates)}" if candidates else "no such file"
            raise FileNotFoundError(
                f"{source} lists image {name!r}, but {' and '.join(map(str, folders))} has {found}. Check "
                "DETECTRON2_DATASETS and unpack the images as datasets/README.md shows."
            )
        if candidates != [name]:
            renamed.append(name)
        paths.append(present[candidates[0]])
    if renamed:
        logger.info(
            "%s: %d images have another ending on disk, the first being %s.", source, len(renamed), renamed[0]
        )
    return paths


def image_sizes(paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.int64]:
    """(I, 2) width and height of the pictures when upright, from the headers of the files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image.
    """
    with ThreadPoolExecutor() as pool:
        # disable=None: a bar on a terminal, nothing in a log file
        sizes = list(
            tqdm(pool.map(upright_size, paths), "image sizes", len(paths), leave=False, disable=None)
        )
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)
