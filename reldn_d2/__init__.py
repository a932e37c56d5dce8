"""RelDN (Graphical Contrastive Losses for Scene Graph Parsing, CVPR 2019) as a Detectron2 project.

Importing this package registers the meta-architecture, the relation head, the backbones and the built-in
data sets.
"""

import warnings
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING

for _module, _remedy in (
    ("detectron2", "see 'Install' in README.md"),
    ("cv2", "pip install opencv-python, or opencv-python-headless where there is no display"),
):
    if find_spec(_module) is None:
        raise ImportError(f"reldn_d2 needs {_module}, which is not installed: {_remedy}")

from .utils.collector import paused_collector

with warnings.catch_warnings(), paused_collector():
    # fvcore compiles two losses when it is imported, which RelDN does not use.
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
    from . import data, model_zoo, modeling
from .config import add_reldn_config, register_config

if TYPE_CHECKING:
    import torch

    from .engine import RelationPredictor

__all__ = [
    "__version__",
    "add_reldn_config",
    "data",
    "from_pretrained",
    "model_zoo",
    "modeling",
    "register_config",
]
__version__ = "0.2.0"


def from_pretrained(
    name: "str | PathLike[str]",
    *,
    device: "str | int | torch.device | None" = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: "str | PathLike[str] | None" = None,
    local_files_only: bool = False,
    force_download: bool = False,
    sha256: str | None = None,
    trust: bool = False,
) -> "RelationPredictor":
    """Loads a trained model by its name, ready to predict.

    Args:
        name: the name of an entry of the model zoo; a folder of `save_pretrained`; the folder of a training,
            or a checkpoint in it; or a hub id, owner/name.
        device: such as "cpu", "cuda:1", or the number of a GPU; None: a GPU if there is one, else the CPU.
        revision: branch, tag or commit on the hub; None: the branch "main".
        token: token of the hub; None: that of `hf auth login`; False: none.
        cache_dir: folder of downloads; None: that of the hub's library, or of the model zoo.
        local_files_only: whether to use no network.
        force_download: whether to download what the cache has already.
        sha256: expected digest: of the file SHA256SUMS of a saved model, else of the checkpoint.
        trust: take an entry of the model zoo whose digest is not known.

    Raises:
        OSError: there is no such model, or it can't be fetched.
        ValueError: it is incomplete or damaged, or does not fit; or this machine lacks the device.
    """
    from .engine import RelationPredictor  # late, since it takes seconds

    return RelationPredictor.from_pretrained(
        name,
        device=device,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
        sha256=sha256,
        trust=trust,
    )
