"""Tar files of pictures, as WebDataset has them."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["pack", "write_tar"]


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Writes a tar file with these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def pack(files: Sequence[Path], folder: Path, per_tar: int = 2, name: str = "train") -> str:
    """Packs pictures, each followed by a text, into several tar files. Returns their pattern."""
    for first in range(0, len(files), per_tar):
        members: dict[str, bytes] = {}
        for file in files[first : first + per_tar]:
            members |= {file.name: file.read_bytes(), f"{file.stem}.txt": b"a caption"}
        write_tar(folder / f"{name}-{first // per_tar:03d}.tar", members)
    return str(folder / f"{name}-*.tar")
