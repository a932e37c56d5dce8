"""What the blocks of the documentation become in a test: fewer iterations, fewer and smaller images.

The models are narrow, all in the same way, so that the weights of one block fit another. Seeds are fixed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders.narrow_resnet import NARROW_RESNET, STEM_CHANNELS, narrow_stages

_SHORT = {
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.BASE_LR": "0.0001",  # a few steps from random weights must not diverge
    "SOLVER.STEPS": "()",
    "INPUT.MIN_SIZE_TRAIN": "(96,)",
    "INPUT.MIN_SIZE_TEST": "96",
    "TEST.DETECTIONS_PER_IMAGE": "12",
}
SMALL = _SHORT | NARROW_RESNET
TINY_SCENES = {
    "DATASETS.TRAIN": "('reldn_scenes_tiny_train',)",
    "DATASETS.TEST": "('reldn_scenes_tiny_test',)",
}
# Configs of photos: networks that are narrow, too, and start from weights of the same width.
PHOTOS = _SHORT | {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "16",
    "MODEL.RESNETS.NUM_GROUPS": "2",
    "MODEL.RESNETS.WIDTH_PER_GROUP": "4",
    "MODEL.FPN.OUT_CHANNELS": "16",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.RPN.POST_NMS_TOPK_TEST": "30",
    "SOLVER.REFERENCE_WORLD_SIZE": "0",  # so that the two steps are no sixteen
}
_PYTHON = {
    "model.backbone.bottom_up.stem.out_channels": str(STEM_CHANNELS),
    "model.backbone.bottom_up.stages._target_": f"{narrow_stages.__module__}.{narrow_stages.__qualname__}",
    "train.max_iter": "3",
    "optimizer.lr": "0.00001",  # nearly all of the warm-up is missing
    "lr_multiplier.scheduler.values": "[1.0,0.1]",
    "lr_multiplier.scheduler.milestones": "[2]",
    "dataloader.train.total_batch_size": "2",
    "datasets.train": "[reldn_scenes_tiny_train]",
    "datasets.test": "reldn_scenes_tiny_test",
}


def reduced_text(text: str) -> str:
    """The same text with the first few scenes instead of all."""
    return text.replace("reldn_scenes_train", "reldn_scenes_tiny_train").replace(
        "reldn_scenes_test", "reldn_scenes_tiny_test"
    )


def reduced(words: Sequence[str]) -> list[str]:
    """The words of a `reldn` command in their reduced form.

    Names of the scenes become those of the tiny scenes. Configs of the package get tiny settings. A config in
    the working directory is the reader's: the workspace made it small already.
    """
    words = [reduced_text(word) for word in words]
    if words[0] == "train" and "--seed" not in words:
        words[1:1] = ["--seed", "1"]
    if "--recipe" in words:
        # A start from weights of the model zoo has their width.
        return _with_keys(words, _SHORT if "scenes-tiny" in words else SMALL)
    if "--config-file" not in words:
        return words
    config = words[words.index("--config-file") + 1]
    if Path(config).is_file():
        return words
    if config.endswith(".py"):
        kept = [word for word in words if word.partition("=")[0] not in _PYTHON]
        return [*kept, *(f"{key}={value}" for key, value in _PYTHON.items())]
    if config.startswith(("vrd/", "vg/")):
        if "--num-gpus" in words:
            place = words.index("--num-gpus")
            del words[place : place + 2]
        return _with_keys(words, PHOTOS)
    return _with_keys(words, SMALL if "--data" in words else SMALL | TINY_SCENES)


def _with_keys(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with these KEY VALUE pairs, in place of other values of the same keys."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in values:
            next(rest)
        else:
            kept.append(word)
    return [*kept, *(word for pair in values.items() for word in pair)]
