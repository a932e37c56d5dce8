"""The data sets that are known by name after `import reldn_d2`."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog

from .datasets.vrd import register_vrd
from .registration import datasets_root
from .synthetic import BUILTIN_DATASETS, register_scenes

logger = logging.getLogger(__name__)

# Folders below the root that hold VRD's official layout, and the prefix of the names they are registered
# under.
VRD_FOLDERS = ("vrd", "vrd_mini")


def register_all(root: str | None = None) -> None:
    """Register the data sets that datasets/README.md lists.

    Nothing is read until a data set is asked for. Names that are registered already, by an earlier call or by
    another project, are left alone.

    Args:
        root: folder that holds the data sets; None means `datasets_root()`.
    """
    base = Path(datasets_root() if root is None else root)
    for name, register in {**_vrd(base), **_scenes()}.items():
        if name in DatasetCatalog:
            logger.debug("Data set %s is registered already and left as it is.", name)
        else:
            register(name)


def _vrd(base: Path) -> dict[str, Callable[[str], None]]:
    sets: dict[str, Callable[[str], None]] = {}
    for folder in VRD_FOLDERS:
        train = f"{folder}_train"
        sets[train] = partial(register_vrd, root=base / folder, split="train")
        sets[f"{folder}_test"] = partial(register_vrd, root=base / folder, split="test", train_dataset=train)
    return sets


def _scenes() -> dict[str, Callable[[str], None]]:
    return {
        name: partial(
            register_scenes,
            split=split,
            num_scenes=num_scenes,
            train_dataset=name.replace("_test", "_train") if split == "test" else None,
        )
        for name, (split, num_scenes) in BUILTIN_DATASETS.items()
    }
