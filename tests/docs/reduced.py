"""What a command or a Python block of the documentation becomes in a test: fewer iterations, fewer and smaller images.

Models keep their size, so that the weights of one block fit another.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

_YAML = {
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.STEPS": "()",
    "INPUT.MIN_SIZE_TRAIN": "(96,)",
    "INPUT.MIN_SIZE_TEST": "96",
    "TEST.DETECTIONS_PER_IMAGE": "12",
}
_YAML_SCENES = {"DATASETS.TRAIN": "('scenes_tiny_train',)", "DATASETS.TEST": "('scenes_tiny_test',)"}
_PYTHON = {
    "train.max_iter": "3",
    "lr_multiplier.scheduler.values": "[1.0,0.1]",
    "lr_multiplier.scheduler.milestones": "[2]",
    "dataloader.train.total_batch_size": "2",
    "datasets.train": "[scenes_tiny_train]",
    "datasets.test": "scenes_tiny_test",
}


def reduced_text(text: str) -> str:
    """The same text with the first few scenes instead of all."""
    return text.replace("scenes_train", "scenes_tiny_train").replace("scenes_test", "scenes_tiny_test")


def reduced(words: Sequence[str]) -> list[str]:
    """The words of a `reldn` command, with the tiny scenes and, for a config of the package, with tiny settings.

    A config in the working directory is the reader's: the workspace made it small already.
    """
    words = [reduced_text(word) for word in words]
    if "--recipe" in words:
        return _with_keys(words, _YAML)
    if "--config-file" not in words:
        return words
    config = words[words.index("--config-file") + 1]
    if Path(config).is_file():
        return words
    if config.endswith(".py"):
        kept = [word for word in words if word.partition("=")[0] not in _PYTHON]
        return [*kept, *(f"{key}={value}" for key, value in _PYTHON.items())]
    return _with_keys(words, _YAML if "--data" in words else _YAML | _YAML_SCENES)


def _with_keys(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with these KEY VALUE pairs, in place of other values of the same keys."""
    kept = [
        word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(values)
    ]
    return [*kept, *(word for pair in values.items() for word in pair)]
