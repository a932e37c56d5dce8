"""The data sets that are known by name after `import reldn_d2`."""

import logging
import os

from detectron2.data import DatasetCatalog

from .datasets.vrd import SPLITS, register_vrd
from .synthetic import register_all_scenes

logger = logging.getLogger(__name__)

# Folders below the root that hold VRD's official layout, and the prefix of the names they are registered
# under.
VRD_FOLDERS = ("vrd", "vrd_mini")


def datasets_root() -> str:
    """The folder that holds the data sets: the environment variable DETECTRON2_DATASETS, or `datasets`."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def register_all(root: str | None = None) -> None:
    """Register `vrd_train`, `vrd_test`, `vrd_mini_train`, `vrd_mini_test` and the drawn scenes.

    Nothing is read until a data set is asked for. Names that are registered already, by an earlier call or by
    another project, are left alone.

    Args:
        root: folder that holds the data sets; None means `datasets_root()`.
    """
    base = datasets_root() if root is None else root
    for folder in VRD_FOLDERS:
        for split in SPLITS:
            name = f"{folder}_{split}"
            if name in DatasetCatalog:
                logger.debug("Data set %s is registered already and left as it is.", name)
            else:
                train_dataset = f"{folder}_train" if split == "test" else None
                register_vrd(name, os.path.join(base, folder), split, train_dataset)
    register_all_scenes()
