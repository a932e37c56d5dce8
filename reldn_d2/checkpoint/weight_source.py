"""`WeightSource`: path or URL of weights, with a checksum that is compared before the file is read."""

import errno
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from iopath.common.file_io import get_cache_dir

from reldn_d2.utils.io import check_sha256, file_digest
from reldn_d2.utils.system_errors import explained, extended

logger = logging.getLogger(__name__)

# Errors of a download that are not the network's.
_OF_THE_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Files that configs of this package start from -> the command that makes them.
_MADE_BY = {
    "efficientnet_lite0.pth": "reldn convert efficientnet-lite0",
    "vgg16_imagenet.pth": "reldn convert vgg16",
}


@dataclass(frozen=True)
class WeightSource:
    """The value of MODEL.WEIGHTS: an address, and options after a question mark.

    Attributes:
        address: path or URL, without the options.
        sha256: expected checksum, 64 lower-case hexadecimal digits; None if it is not checked.
        matching_heuristics: whether to match parameters by similar names, as Detectron2 does for the weights
            of other frameworks.
    """

    address: str
    sha256: str | None
    matching_heuristics: bool

    @classmethod
    def parse(cls, text: str) -> "WeightSource":
        """Splits an address from its options.

        Args:
            text: `address?sha256=...&matching_heuristics=True`, with either option, both or none.

        Raises:
            ValueError: an option is unknown or has an impossible value.
        """
        address, _, query = text.partition("?")
        options = parse_qs(query, keep_blank_values=True)
        sha256 = options.pop("sha256", [None])[-1]
        try:
            sha256 = None if sha256 is None else check_sha256(sha256)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from error
        heuristics = options.pop("matching_heuristics", ["False"])[-1]
        if heuristics not in ("True", "False"):
            raise ValueError(f"{text}: matching_heuristics takes True or False, not {heuristics!r}")
        if options:
            raise ValueError(
                f"{text}: {', '.join(options)} is no option of weights: the options after the question mark "
                "are sha256 and matching_heuristics. If a server needs others, download the file and give "
                "its path"
            )
        return cls(address, sha256, heuristics == "True")

    @property
    def is_remote(self) -> bool:
        """Whether the address is a URL. Its file is kept in a cache."""
        return "://" in self.address

    def fetch(self, path_manager: Any) -> Path:
        """Returns the path of the local file, after a download if necessary, and compares the checksum.

        Args:
            path_manager: Detectron2's PathManager, which resolves all kinds of addresses.

        Raises:
            FileNotFoundError: the file does not exist.
            OSError: the download failed.
            ValueError: the checksum differs, or the path is a folder.
        """
        try:
            path = Path(path_manager.get_local_path(self.address))
        except OSError as error:
            if error.errno in _OF_THE_FOLDER:
                # Not the network, but the folder of downloads.
                cache = get_cache_dir()
                raise extended(
                    explained(error, error.filename or cache, "written"),
                    f"Downloads are kept in {cache}; FVCORE_CACHE names another folder",
                ) from error
            raise OSError(
                f"{self.address} could not be fetched ({error}): check the address and whether this machine "
                "can reach it, or download the file elsewhere and give its path"
            ) from error
        if path.is_dir():
            raise ValueError(
                f"{self.address} is a folder: name the checkpoint in it, such as model_final.pth"
            )
        if not path.is_file():
            made_by = _MADE_BY.get(path.name)
            remedy = (
                f"make it with `{made_by} --output {path}`" if made_by else "give the path of a checkpoint"
            )
            raise FileNotFoundError(f"{self.address} does not exist: {remedy}")
        if self.is_remote or self.sha256 is not None:
            self._check(path)
        return path

    def again(self, path: Path) -> str:
        """The end of an error message about a broken file, which says how to download it again.

        Args:
            path: local file.

        Returns:
            The sentence, or an empty string if the file was not downloaded.
        """
        return (
            f". It was downloaded from {self.address}: delete {path} to download it again"
            if self.is_remote
            else ""
        )

    def _check(self, path: Path) -> None:
        digest = file_digest(path)
        if self.sha256 is None:
            logger.info(
                "%s is in %s. To accept only exactly this file from now on, write %s?sha256=%s",
                self.address, path, self.address, digest,
            )  # fmt: skip
        elif digest != self.sha256:
            raise ValueError(
                f"{self.address} is not the expected file, or it is broken: {path} has sha256 {digest}, not "
                f"{self.sha256}{self.again(path)}"
            )
