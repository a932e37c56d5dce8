"""RelDN (Graphical Contrastive Losses for Scene Graph Parsing, CVPR 2019) as a Detectron2 project.

Importing this package registers the meta-architecture, the relation head, the backbones and the built-in
data sets.
"""

import warnings
from importlib.util import find_spec

for _module, _remedy in (
    ("detectron2", "see 'Install' in README.md"),
    ("cv2", "pip install opencv-python, or opencv-python-headless where there is no display"),
):
    if find_spec(_module) is None:
        raise ImportError(f"reldn_d2 needs {_module}, which is not installed: {_remedy}")

with warnings.catch_warnings():
    # fvcore compiles two losses when it is imported, which RelDN does not use.
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
    from . import data, modeling
from .config import add_reldn_config, register_config

__all__ = ["__version__", "add_reldn_config", "data", "modeling", "register_config"]
__version__ = "0.2.0"
