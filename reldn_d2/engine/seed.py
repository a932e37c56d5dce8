"""The seed of a run: given by the config, that of the run which is resumed, or drawn."""

import random
from pathlib import Path
from typing import Any

import yaml
from detectron2.utils import comm


class _PlainLoader(yaml.SafeLoader):
    """Reads numbers and texts. Parts of Python configs that need code are None."""


_PlainLoader.add_multi_constructor("", lambda *_: None)


def drawn_seed() -> int:
    """A random seed from 0 to 999999, the same in all processes, whatever the state of random numbers is."""
    seeds: list[int] = comm.all_gather(random.SystemRandom().randrange(1_000_000))
    return seeds[0]


def saved_seed(config_file: Path, key: str) -> int | None:
    """The seed that a run saved with its config.

    Args:
        config_file: config.yaml of the run, of either kind.
        key: name of the seed in this kind of config.

    Returns:
        None if there is no such file, or no seed of 0 or more in it.
    """
    if not config_file.is_file():
        return None
    try:
        value: Any = yaml.load(config_file.read_text(), Loader=_PlainLoader)
    except yaml.YAMLError:
        return None
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int) and value >= 0 else None
