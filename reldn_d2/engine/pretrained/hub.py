"""Downloads models from the hub of Hugging Face, and uploads them, by the library `huggingface_hub`.

The library keeps downloads in its cache and takes its settings from the environment: HF_HOME and HF_HUB_CACHE
(where the cache is), HF_HUB_OFFLINE (no network), HF_ENDPOINT (another server), HF_TOKEN.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import reldn_d2

from .folder import FILES

_HUB_ID = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
Patterns = str | Sequence[str] | None


def is_hub_id(name: str) -> bool:
    """Whether a text has the form owner/name, as the hub allows it."""
    return bool(_HUB_ID.fullmatch(name)) and not any(x in name for x in ("..", "--"))


@dataclass(frozen=True)
class HubOptions:
    """How a model is fetched; the names are those of `huggingface_hub`.

    Attributes:
        revision: branch, tag or commit; None: the branch "main".
        token: token of the hub; None: that of `hf auth login`; False: none.
        cache_dir: folder of downloads; None: the library's.
        local_files_only: whether to take only what the cache has.
        force_download: whether to download what the cache has already.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    force_download: bool = False


def download(hub_id: str, options: HubOptions) -> Path:
    """Fetches the files of a saved model, and no others. Nothing in them is read.

    Args:
        hub_id: owner/name.
        options: how.

    Returns:
        A folder of the cache.

    Raises:
        OSError: the hub can't be reached and the cache lacks the model, or there is no such repository or
            revision for this user. The message says what was tried and what helps.
    """
    from huggingface_hub import snapshot_download

    with _explained(hub_id, options):
        folder = snapshot_download(
            hub_id,
            revision=options.revision,
            token=options.token,
            cache_dir=None if options.cache_dir is None else Path(options.cache_dir),
            local_files_only=options.local_files_only,
            force_download=options.force_download,
            allow_patterns=[*FILES],
            library_name=reldn_d2.__name__,
            library_version=reldn_d2.__version__,
        )
    return Path(folder)


def make_repository(name: str, *, private: bool | None, token: str | bool | None) -> str:
    """Makes a repository, unless it exists.

    Args:
        name: hub id, or a name of the user's own.
        private, token: as in `huggingface_hub.ModelHubMixin.push_to_hub`.

    Returns:
        Its hub id.

    Raises:
        OSError: the hub can't be reached, or refuses.
    """
    with _explained(name, HubOptions(), writing=True):
        found: str = _api(token).create_repo(repo_id=name, private=private, exist_ok=True).repo_id
    return found


def _api(token: str | bool | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name=reldn_d2.__name__, library_version=reldn_d2.__version__)


@dataclass(frozen=True)
class UploadOptions:
    """How a model is uploaded; the names are those of `huggingface_hub.ModelHubMixin.push_to_hub`."""

    commit_message: str = "Upload a model of reldn_d2"
    private: bool | None = None
    token: str | bool | None = None
    branch: str | None = None
    create_pr: bool | None = None
    allow_patterns: Patterns = None
    ignore_patterns: Patterns = None
    delete_patterns: Patterns = None


def upload(folder: Path, hub_id: str, options: UploadOptions) -> str:
    """Uploads the files of a saved model, and no others, in one commit.

    Args:
        folder: the folder.
        hub_id: owner/name of a repository.
        options: how.

    Returns:
        The URL of the commit.

    Raises:
        OSError: the hub can't be reached, or refuses.
    """
    patterns = _listed(options.allow_patterns)
    allowed = [name for name in FILES if patterns is None or any(fnmatch(name, x) for x in patterns)]
    with _explained(hub_id, HubOptions(revision=options.branch), writing=True):
        commit = _api(options.token).upload_folder(
            repo_id=hub_id,
            repo_type="model",
            folder_path=folder,
            commit_message=options.commit_message,
            revision=options.branch,
            create_pr=options.create_pr,
            allow_patterns=allowed,
            ignore_patterns=_listed(options.ignore_patterns),
            delete_patterns=_listed(options.delete_patterns),
        )
    return str(commit.commit_url)


def _listed(patterns: Patterns) -> list[str] | None:
    return [patterns] if isinstance(patterns, str) else None if patterns is None else [*patterns]


@contextmanager
def _explained(hub_id: str, options: HubOptions, *, writing: bool = False) -> Iterator[None]:
    """Turns the library's errors into errors that say what was tried and what helps."""
    from huggingface_hub import constants, errors

    # Its classes of errors, whatever HTTP client it uses: that of the client, and OSError. An upload that
    # failed in a thread is a RuntimeError.
    of_the_hub: tuple[type[Exception], ...] = (*errors.HfHubHTTPError.__bases__, RuntimeError)
    place = f"{constants.ENDPOINT}/{hub_id}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{place} is open only to users who have accepted its conditions: accept them on that page, then "
            "log in with `hf auth login`, or give a token"
        ) from error
    except errors.RepositoryNotFoundError as error:
        rights = "may not be written by you" if writing else "is private"
        raise FileNotFoundError(
            f"{place} does not exist, or {rights}: check the name; if it is right, log in with `hf auth "
            "login`, or give a token"
        ) from error
    except errors.RevisionNotFoundError as error:
        create = "create the branch there first, or " if writing else ""
        raise FileNotFoundError(
            f"{place} has no revision {options.revision!r}: {create}give a branch, a tag or a whole commit "
            f"of {place}/tree/main"
        ) from error
    except of_the_hub as error:
        if writing:
            raise OSError(
                f"{place} could not be written ({_reason(error)}): check the network, the name and the "
                "rights of your token (`hf auth login`). Or save the model with save_pretrained(FOLDER), "
                f"and upload it elsewhere with `hf upload {hub_id} FOLDER .`"
            ) from error
        raise OSError(_not_fetched(hub_id, place, options, error)) from error


def _not_fetched(hub_id: str, place: str, options: HubOptions, error: Exception) -> str:
    from huggingface_hub import constants

    cache = options.cache_dir or constants.HF_HUB_CACHE
    command = f"hf download {hub_id} --local-dir FOLDER"
    by_hand = f"download it where there is a network (`{command}`) and give the folder"
    revision = "" if options.revision is None else f" at revision {options.revision!r}"
    if options.local_files_only:
        return (
            f"{hub_id}{revision} is not completely in the cache {cache}, and local_files_only allows no "
            f"download: leave it out, or {by_hand}"
        )
    if constants.HF_HUB_OFFLINE:
        return (
            f"{hub_id}{revision} is not completely in the cache {cache}, and HF_HUB_OFFLINE allows no "
            f"download: unset it, or {by_hand}"
        )
    return (
        f"{place}{revision} could not be fetched ({_reason(error)}), and the cache {cache} does not have it: "
        f"check the network, or {by_hand}. With local_files_only=True (or HF_HUB_OFFLINE=1) the network is "
        "not tried"
    )


def _reason(error: BaseException) -> str:
    """What the network or the server said, without the library's advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
