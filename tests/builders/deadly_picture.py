"""For `--import`: a decoder that ends the process that first opens `deadly.png`, as a crash does."""

import os
import signal
from pathlib import Path
from typing import IO

from PIL import Image, PngImagePlugin


def _open(file: IO[bytes], name: str) -> PngImagePlugin.PngImageFile:
    path = Path(file.name)
    mark = path.with_suffix(".opened")
    if path.name == "deadly.png" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return PngImagePlugin.PngImageFile(file, name)


Image.register_open(PngImagePlugin.PngImageFile.format, _open, Image.OPEN["PNG"][1])
