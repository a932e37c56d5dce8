"""The configs of this package and of Detectron2, and trained models, by name, in a checkout and in a wheel.

`configs` is the folder of the same name at the top of the repository. A wheel holds a copy of it.
"""

from .config_files import (
    CONFIGS,
    NO_PKG_RESOURCES,
    config_names,
    find_config,
    get_config_file,
    get_detectron2_config_file,
    is_config_of_detectron2,
)
from .manifest import ExpectedResult, ZooEntry, zoo_entry, zoo_names

__all__ = [
    "CONFIGS",
    "NO_PKG_RESOURCES",
    "ExpectedResult",
    "ZooEntry",
    "config_names",
    "find_config",
    "get_config_file",
    "get_detectron2_config_file",
    "is_config_of_detectron2",
    "zoo_entry",
    "zoo_names",
]
