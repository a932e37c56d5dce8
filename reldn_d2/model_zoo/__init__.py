"""The configs of this package and of Detectron2, by name, in a checkout and in an installed wheel.

`configs` is the folder of the same name at the top of the repository. A wheel holds a copy of it.
"""

from .config_files import (
    CONFIGS,
    config_names,
    find_config,
    get_config_file,
    get_detectron2_config_file,
    is_config_of_detectron2,
)

__all__ = [
    "CONFIGS",
    "config_names",
    "find_config",
    "get_config_file",
    "get_detectron2_config_file",
    "is_config_of_detectron2",
]
