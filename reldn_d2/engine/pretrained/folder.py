"""The format of a saved folder: its files, their digests, and what makes it complete.

    model.safetensors    the weights, with the semantic table (the prior that was counted over the training
                         set), and the names of the classes
    config.yaml          the config as plain data, without places and data sets
    model.json           how it was trained, its numbers, licence, notice of the data (`info`)
    README.md            the model card
    NOTICE               the notice of the data, if there is one
    SHA256SUMS           the SHA-256 of each file above, as `sha256sum -c` reads it

SHA256SUMS is written last, and nothing is loaded without it. So a folder that was half written, copied or
downloaded is never taken for a whole one. Whoever changes a file can change SHA256SUMS, too: by itself it is
a check against damage only. Whoever knows the digest of SHA256SUMS from somewhere else knows every file.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reldn_d2.utils.io import atomic_write, file_digest
from reldn_d2.utils.plain_text import visible
from reldn_d2.utils.system_errors import explained

from ..parts import CONFIG_FILE, FINAL_WEIGHTS
from .card import is_generated
from .info import ModelInfo

WEIGHTS_FILE, INFO_FILE, CARD_FILE = "model.safetensors", "model.json", "README.md"
NOTICE_FILE, SUMS_FILE = "NOTICE", "SHA256SUMS"
#: What loading reads. The others are for people, who may edit them.
READ_FILES = (WEIGHTS_FILE, CONFIG_FILE, INFO_FILE)
#: Every file of the format. Nothing else is downloaded or uploaded.
FILES = (*READ_FILES, CARD_FILE, NOTICE_FILE, SUMS_FILE)

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_MOST_BYTES_OF_SUMS = 100_000
_DAMAGE = "Its own digests are a check against damage only"


@dataclass(frozen=True)
class PretrainedFolder:
    """A model that was found. Nothing of it is loaded yet.

    Attributes:
        path: its folder.
        config_file: its config, which may come from anybody.
        weights_file: its weights.
        info: what is known of it; None for a training, whose files say it.
        sha256: digest of SHA256SUMS, and so of every file; None for a training.
    """

    path: Path
    config_file: Path
    weights_file: Path
    info: ModelInfo | None
    sha256: str | None = None


def is_saved_model(path: Path) -> bool:
    """Whether a path is a folder of `save_pretrained` or the weights in one, also if it is incomplete.

    The user of a training may have put a file of one of these names beside its checkpoints.
    """
    folder = path if path.is_dir() else path.parent
    listed = (folder / INFO_FILE).exists() or (folder / SUMS_FILE).exists()
    has_weights = (folder / WEIGHTS_FILE).exists()
    if path.is_dir():
        is_run = (folder / FINAL_WEIGHTS).exists() or (folder / "last_checkpoint").exists()
        return (listed and has_weights) or (not is_run and (listed or has_weights))
    return listed and path.name == WEIGHTS_FILE


def open_folder(folder: Path, *, name: str = "", sha256: str | None = None) -> PretrainedFolder:
    """Checks a folder before anything in it is used.

    Args:
        folder: local folder, or one of the hub's cache.
        name: what the user called it, for messages; empty: the folder.
        sha256: expected digest of SHA256SUMS, in lower case; None: it is not known.

    Raises:
        OSError: a file can't be read.
        ValueError: a file is missing, is a link that leads out of the folder, or has another digest. The
            message says which, and what helps.
    """
    name = name or str(folder)
    _refuse_links(folder, name)
    sums = folder / SUMS_FILE
    if not sums.is_file():
        missing = [file for file in READ_FILES if not (folder / file).is_file()]
        if missing:
            raise ValueError(
                f"{name} has no {SUMS_FILE}, and it lacks {', '.join(missing)}: it is no whole model that "
                "this package has saved. Get it again, or give another"
            )
        raise ValueError(
            f"{name} has no {SUMS_FILE}, which is written last: saving or downloading it was interrupted. "
            "Save or download it again"
        )
    found = file_digest(sums)
    if sha256 is not None and found != sha256:
        raise ValueError(
            f"{name} is not the expected model: its {SUMS_FILE} has sha256 {found}, not {sha256}. "
            "No other file of it was read. Get it again, or ask whoever gave you the digest"
        )
    listed = _read_sums(sums, name)
    for file in READ_FILES:
        _check(folder / file, listed, name)
    info = ModelInfo.from_json((folder / INFO_FILE).read_bytes(), str(folder / INFO_FILE))
    return PretrainedFolder(folder, folder / CONFIG_FILE, folder / WEIGHTS_FILE, info, sha256=found)


def _check(path: Path, listed: Mapping[str, str], name: str) -> None:
    again = f"get it again. {_DAMAGE}"
    if path.name not in listed:
        raise ValueError(
            f"{name}: {SUMS_FILE} does not list {path.name}, which every saved model has: {again}"
        )
    if not path.is_file():
        raise ValueError(f"{name} lacks {path.name}, which {SUMS_FILE} lists: {again}")
    found = file_digest(path)
    if found != listed[path.name]:
        raise ValueError(
            f"{name}: {path.name} is damaged or was changed: it has sha256 {found}, and {SUMS_FILE} says "
            f"{listed[path.name]}: {again}. If you have changed it yourself, save the model again"
        )


def _read_sums(path: Path, name: str) -> dict[str, str]:
    """The digests by file name. Other names than those of `FILES` are left out."""
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES_OF_SUMS).decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    matches = [_LINE.fullmatch(line) for line in lines]
    for line, match in zip(lines, matches, strict=True):
        if match is None:
            raise ValueError(
                f"{name}: {SUMS_FILE} has the line {visible(line[:80])!r}, which is not a digest and a name: "
                "get it again"
            )
    return {match[2]: match[1].lower() for match in matches if match is not None and match[2] in FILES}


def _refuse_links(folder: Path, name: str) -> None:
    """Refuses files that are links to somewhere else, but for those of the hub's cache to its blobs."""
    root = Path(os.path.realpath(folder))
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    for file in FILES:
        path = root / file
        place = Path(os.path.realpath(path))
        if path.is_symlink() and not any(place.is_relative_to(inside) for inside in allowed):
            raise ValueError(
                f"{name}: {file} is a link that leads out of the folder (to {place}): replace it by the file"
            )


def write_folder(folder: Path, files: Mapping[str, bytes], write_weights: Callable[[Path], None]) -> str:
    """Writes a saved folder. While it is being written, it has no SHA256SUMS.

    Args:
        folder: the folder, made if missing. Files of an earlier model are replaced; a card that somebody has
            edited stays.
        files: name -> content, without weights and digests.
        write_weights: writes the weights to a path.

    Returns:
        The digest of SHA256SUMS.

    Raises:
        ValueError: the folder has a file of one of these names that is no file of a saved model.
        OSError: a file can't be written. The folder is incomplete, and is not loaded.
    """
    edited = refuse_other_files(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMS_FILE).unlink(missing_ok=True)
        if NOTICE_FILE not in files:
            (folder / NOTICE_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise explained(error, folder, "written") from error
    # First the file that tells a saved model from any other folder, also if the rest is never written.
    for name in sorted(files, key=lambda name: name != INFO_FILE):
        if name not in edited:
            with atomic_write(folder / name) as file:
                file.write(files[name])
    write_weights(folder / WEIGHTS_FILE)
    return _write_sums(folder, {name: file_digest(folder / name) for name in (WEIGHTS_FILE, *files)})


def _write_sums(folder: Path, digests: Mapping[str, str]) -> str:
    """Writes SHA256SUMS. Returns its digest."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    with atomic_write(folder / SUMS_FILE) as file:
        file.write(text.encode())
    return file_digest(folder / SUMS_FILE)


def replace_card(folder: Path, card: bytes) -> None:
    """Replaces the model card of a saved folder, unless somebody has edited it.

    Raises:
        OSError: it can't be written.
    """
    if refuse_other_files(folder):
        return
    listed = _read_sums(folder / SUMS_FILE, str(folder))
    (folder / SUMS_FILE).unlink()
    with atomic_write(folder / CARD_FILE) as file:
        file.write(card)
    _write_sums(folder, {**listed, CARD_FILE: file_digest(folder / CARD_FILE)})


def _is_ours(file: Path) -> bool:
    """Whether a file is the `model.json` of a saved model, of whatever release."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, RecursionError, ValueError):
        return False
    return isinstance(content, dict) and {"format_version", "saved_by"} <= content.keys()


def refuse_other_files(folder: Path) -> set[str]:
    """Checks that a model may be saved in a folder.

    Returns:
        The files for people that somebody has edited since they were written.

    Raises:
        ValueError: there is a file that saving would replace, and that no saved model has left; or it is no
            folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    there = [name for name in FILES if (folder / name).exists()]
    if there not in ([], [CARD_FILE]) and not _is_ours(folder / INFO_FILE):
        raise ValueError(
            f"{folder} has {', '.join(there)}, but no {INFO_FILE} of this package, so it is no saved model, "
            "and saving would replace what it has: choose another folder"
        )
    if CARD_FILE not in there:
        return set()
    return set() if is_generated((folder / CARD_FILE).read_bytes()) else {CARD_FILE}
