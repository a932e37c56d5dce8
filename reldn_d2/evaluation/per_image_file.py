"""Per-image counts of an evaluation in one .json file, for comparing two models image by image.

Version 1, for N images:

    {"format_version": 1, "dataset_name": str, "task": "SGDET",
     "image_ids": [N texts],
     "protocols": {name: {"ground_truths": [N ints], "hits": {metric: [N ints]}}}}
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reldn_d2.files import replace_when_complete

from .recall import PerImageRecall

FORMAT_VERSION = 1


def save_per_image(
    path: str | os.PathLike[str], counts: Mapping[str, PerImageRecall], *, dataset_name: str, task: str
) -> None:
    """Write the file in one step.

    Args:
        path: file to write; its folder exists.
        counts: protocol name -> counts, at least one, all of the same images in the same order.
        dataset_name, task: what was evaluated.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "dataset_name": dataset_name,
        "task": task,
        "image_ids": next(iter(counts.values())).image_ids,
        "protocols": {
            protocol: {
                "ground_truths": count.ground_truths.tolist(),
                "hits": {metric: hits.tolist() for metric, hits in count.hits.items()},
            }
            for protocol, count in counts.items()
        },
    }
    with replace_when_complete(path) as file:
        file.write(json.dumps(content).encode())


def load_per_image(path: str | os.PathLike[str]) -> dict[str, PerImageRecall]:
    """Read a file that `save_per_image` wrote: protocol name -> counts.

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
    image_ids = tuple(content["image_ids"])
    return {
        protocol: PerImageRecall(
            image_ids,
            np.array(count["ground_truths"], dtype=np.int64),
            {metric: np.array(hits, dtype=np.int64) for metric, hits in count["hits"].items()},
        )
        for protocol, count in content["protocols"].items()
    }
