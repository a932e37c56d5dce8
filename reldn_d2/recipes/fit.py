"""Settings of a recipe that follow from the data: sizes of images and anchors, and lengths of trainings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows

# Largest shorter side of an image in pixels, so that a CPU can train.
_LARGEST_SIDE = 320
# Largest longer side, as a multiple of the shorter one.
_ASPECT = 5 / 3
# Training is at least as long as the config says, and at most this many times longer.
_LONGEST = 10


def fitted_sizes(cfg: CfgNode, images: Sequence[DatasetDict]) -> dict[str, Any]:
    """Image size and anchors for the training images.

    The shorter side of an image becomes the median of the data, at most 320 pixels. Anchors keep their share
    of it.

    Args:
        cfg: config of a detector.
        images: training images, with height and width.

    Returns:
        Config key -> value.
    """
    sides = np.array([[image["height"], image["width"]] for image in images])
    short = min(int(np.median(sides.min(axis=1))), _LARGEST_SIDE)
    scale = short / cfg.INPUT.MIN_SIZE_TEST
    sizes = [[round(size * scale, 1) for size in level] for level in cfg.MODEL.ANCHOR_GENERATOR.SIZES]
    long = round(short * _ASPECT)
    return {
        "INPUT.MIN_SIZE_TRAIN": (short,),
        "INPUT.MAX_SIZE_TRAIN": long,
        "INPUT.MIN_SIZE_TEST": short,
        "INPUT.MAX_SIZE_TEST": long,
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
    }


def fitted_length(cfg: CfgNode, num_images: int, epochs: float) -> dict[str, Any]:
    """Number of iterations, and those at which the learning rate falls.

    It is enough for the given passes over the images, but at least the config's and at most ten times that.

    Args:
        cfg: config of the training.
        num_images: number of images that are trained on.
        epochs: passes over these images.

    Returns:
        Config key -> value.
    """
    least: int = cfg.SOLVER.MAX_ITER
    length = min(max(round(epochs * num_images / cfg.SOLVER.IMS_PER_BATCH), least), _LONGEST * least)
    steps = tuple(round(step * length / least) for step in cfg.SOLVER.STEPS)
    return {"SOLVER.MAX_ITER": length, "SOLVER.STEPS": steps}


def fitted_test_batch(images: Sequence[DatasetDict]) -> dict[str, Any]:
    """Several images in an inference step if all have the same size; else padding would change results."""
    same = len({(image["height"], image["width"]) for image in images}) == 1
    return {"TEST.IMS_PER_BATCH": 8 if same else 1}


def num_with_entities(images: Sequence[DatasetDict]) -> int:
    """Number of images that stage 1 trains on."""
    return sum(len(image["annotations"]) > 0 for image in images)


def num_with_relations(images: Sequence[DatasetDict]) -> int:
    """Number of images that stage 2 trains on."""
    return sum(len(relation_rows(image)) > 0 for image in images)
