"""Per-image counts of an evaluation in one .json file, for comparing two models image by image.

Version 2, with N images in each entry (an entry for a part of the data set has fewer):

    {"format_version": 2, "dataset_name": str, "task": "SGDET",
     "counts": {name: {"image_ids": [N texts], "ground_truths": [N ints], "hits": {metric: [N numbers]}}}}
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reldn_d2.utils.io import replace_when_complete

from ..metrics import PerImageRecall

FORMAT_VERSION = 2


def save_per_image(
    path: str | os.PathLike[str], counts: Mapping[str, PerImageRecall], *, dataset_name: str, task: str
) -> None:
    """Write the file in one step.

    Args:
        path: file to write; its folder exists.
        counts: name of a protocol, or of a protocol and what was counted -> counts.
        dataset_name, task: what was evaluated.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "dataset_name": dataset_name,
        "task": task,
        "counts": {
            name: {
                "image_ids": count.image_ids,
                "ground_truths": count.ground_truths.tolist(),
                "hits": {metric: hits.tolist() for metric, hits in count.hits.items()},
            }
            for name, count in counts.items()
        },
    }
    with replace_when_complete(path) as file:
        file.write(json.dumps(content).encode())


def load_per_image(path: str | os.PathLike[str]) -> dict[str, PerImageRecall]:
    """Read a file that `save_per_image` wrote: name -> counts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a per-image file of this version.
    """
    try:
        content = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not a per-image file ({error}); run the evaluation again") from error
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format version {version}, not {FORMAT_VERSION}; run the evaluation again")
    return {
        name: PerImageRecall(
            tuple(count["image_ids"]),
            np.array(count["ground_truths"], dtype=np.int64),
            {metric: np.array(hits) for metric, hits in count["hits"].items()},
        )
        for name, count in content["counts"].items()
    }
