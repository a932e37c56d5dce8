"""Models of the model zoo as folders: those of the wheel, and others, downloaded, checked and converted."""

import hashlib
import logging
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tqdm import tqdm

from reldn_d2.data.images import cache_folder
from reldn_d2.model_zoo import ZooEntry, get_config_file
from reldn_d2.utils.io import atomic_write, check_sha256, digest, file_digest
from reldn_d2.utils.plain_text import visible

from .authors_checkpoint import convert_authors_checkpoint
from .evaluate import load_config
from .parts import CONFIG_FILE, FINAL_WEIGHTS

logger = logging.getLogger(__name__)

# Version of the converted checkpoints in the cache. Raise it when a conversion gives another result.
_CONVERSION = 1
_CHUNK = 1 << 20
_SECONDS = 30  # without an answer of the server


def zoo_folder(
    entry: ZooEntry,
    *,
    sha256: str | None = None,
    trust: bool = False,
    cache_dir: Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder with config and weights of a model of the zoo, for `MODEL.WEIGHTS` and `--weights`.

    A model that is not in the wheel is downloaded into the cache, its digest is compared, and then it is read
    and converted. The next call finds both in the cache. A download whose digest differs does not stay there.

    Args:
        entry: the model.
        sha256: digest that the file must have, 64 hexadecimal digits. None: that of the entry.
        trust: whether to take a file that has no digest to compare it with.
        cache_dir: folder for downloads and converted checkpoints. None: `model_zoo` in the user's cache
            folder.
        local_files_only: whether to use no network.
        force_download: whether to download a file again that is in the cache.

    Raises:
        ValueError: the digest differs, or there is none and the file is not trusted; or the file does not fit
            the config of the entry.
        FileNotFoundError: the file has to be downloaded by hand, or may not be downloaded. The message says
            from where, and where to put it.
        OSError: the download failed, or the cache can't be written.
    """
    if entry.source == "wheel":
        return entry.folder
    expected = _expected_digest(entry, sha256, trust=trust)
    folder = (cache_dir or cache_folder() / "model_zoo") / entry.name
    file = folder / "download" / Path(entry.file or "").name
    if entry.source == "url" and (force_download or not file.is_file()):
        if local_files_only:
            raise FileNotFoundError(
                f"the model {entry.name} is not in {folder}, and no network may be used: allow it, or put "
                f"the file {entry.location} at {file}"
            )
        _download(entry.location, file, expected, entry.bytes)
    if not file.is_file():
        raise FileNotFoundError(
            f"the model {entry.name} has to be downloaded by hand: open {entry.location} (not verified: "
            f"nobody here could open this page), unpack the archive, and put its file {entry.file} at {file}"
        )
    found = file_digest(file)
    if expected is None:
        logger.warning("%s is trusted without a comparison of its digest. It has sha256 %s", file, found)
    elif found != expected:
        raise ValueError(_other_digest(str(file), found, expected) + ". Delete it to get it again")
    return _converted(entry, file, found, folder)


def _expected_digest(entry: ZooEntry, sha256: str | None, *, trust: bool) -> str | None:
    given = None if sha256 is None else check_sha256(sha256)
    if given is not None and entry.sha256 is not None and given != entry.sha256:
        raise ValueError(
            f"the model {entry.name} has sha256 {entry.sha256}, not {sha256}: leave out the digest, or give "
            "the file of yours by its path"
        )
    expected = given or entry.sha256
    if expected is None and not trust:
        raise ValueError(
            f"the digest of the model {entry.name} is not known here, so its file can't be told from another "
            "one: give the digest that you expect (of the .pth, not of the archive) as sha256=DIGEST "
            "(--sha256 DIGEST), or accept any file with trust=True (--trust)"
        )
    return expected


def _download(address: str, target: Path, expected: str | None, size: int | None) -> None:
    """Downloads a file. It gets its name only if it is complete and has the digest and the size."""
    try:
        with urlopen(address, timeout=_SECONDS) as answer, atomic_write(target) as file:
            total, received, sha256 = _announced(answer) or size, 0, hashlib.sha256()
            most = size or total
            with tqdm(total=total, unit="B", unit_scale=True, desc=target.name, disable=None) as bar:
                while chunk := answer.read(_CHUNK):
                    received += len(chunk)
                    if most is not None and received > most:
                        raise _DownloadError(f"it is longer than {most:,} bytes")
                    sha256.update(chunk)
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is not None and received != total:
                raise _DownloadError(f"it ended after {received:,} of {total:,} bytes")
            if expected is not None and sha256.hexdigest() != expected:
                raise ValueError(_other_digest(address, sha256.hexdigest(), expected))
    except (URLError, HTTPException, ConnectionError, TimeoutError, SSLError, _DownloadError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise OSError(
            f"{address} could not be fetched ({visible(str(reason))}): check whether this machine can reach "
            f"it, and try again; or download it elsewhere and put it at {target}"
        ) from error


class _DownloadError(Exception):
    """What a server sends is not the whole file."""


def _announced(answer: Any) -> int | None:
    """The number of bytes that a server announces; None if it does not say."""
    length = answer.headers.get("Content-Length")
    if length is None or length.isdecimal():
        return None if length is None else int(length)
    raise _DownloadError(f"the server says that its length is {length!r}")


def _other_digest(what: str, found: str, expected: str) -> str:
    return f"{what} is not the expected file, or it is broken: it has sha256 {found}, not {expected}"


def _converted(entry: ZooEntry, file: Path, sha256: str, folder: Path) -> Path:
    """The folder with the converted checkpoint, made anew if file, config or conversion have changed."""
    cfg = load_config(get_config_file(entry.config), ["MODEL.WEIGHTS", ""])
    config = cfg.dump()
    result = folder / f"converted_{digest([str(_CONVERSION), sha256, config])[:16]}"
    if not (result / CONFIG_FILE).is_file():
        contents = convert_authors_checkpoint(file, result / FINAL_WEIGHTS, cfg, entry.config)
        # The last file: it says that the folder is complete.
        with atomic_write(result / CONFIG_FILE) as stream:
            stream.write(config.encode())
        logger.info("%s: converted %s to %s", entry.name, contents, result)
    return result
