"""RelDN (Graphical Contrastive Losses for Scene Graph Parsing, CVPR 2019) as a Detectron2 project.

Importing this package registers the meta-architecture, the relation head, the backbones and the built-in
data sets.
"""

import warnings
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .engine import RelationPredictor

__all__ = ["__version__", "add_reldn_config", "data", "from_pretrained", "modeling", "register_config"]
__version__ = "0.2.0"


def from_pretrained(name: "str | PathLike[str]", **options: Any) -> "RelationPredictor":
    """Loads a trained model by its name, ready to predict.

    Args:
        name: the name of an entry of the model zoo; a folder of `save_pretrained`; the folder of a training,
            or a checkpoint in it; or a hub id, owner/name.
        options: `device`, `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `sha256`
            and `trust`, as `RelationPredictor.from_pretrained` describes them.

    Raises:
        OSError: there is no such model, or it can't be fetched.
        ValueError: it is incomplete or damaged, or does not fit.
    """
    from .engine import RelationPredictor  # late, since it takes seconds

    return RelationPredictor.from_pretrained(name, **options)
