"""Image files: finding them in their folders, reading them upright, and their sizes, which are cached.

Errors name the file.
"""

import logging
import os
import stat
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.io import digest
from reldn_d2.utils.system_errors import explained, is_of_the_system

from .registration import datasets_root

logger = logging.getLogger(__name__)

#: PIL raises any of these for a damaged file, depending on its format.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)

# Pictures that PIL decodes itself. For EPS, WMF and others it starts other programs, or takes what those
# decode. The content of a file decides, not its name, so that a stranger's "photo.jpg" could be a program in
# PostScript. IPTC holds a picture of any format, so it is not in the list, nor are formats of measurements,
# such as FITS, whose numbers are no grey values. TGA has no mark at its beginning, so it is tried last.
# PIL loads the decoders of the usual ones first.
_USUAL_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM")
_FORMATS = (
    *(*_USUAL_FORMATS, "TIFF", "WEBP", "JPEG2000"),
    *("AVIF", "DIB", "ICO", "PCX", "QOI", "SGI", "SUN", "PSD", "DDS", "ICNS", "DCX", "XBM", "XPM", "TGA"),
)
# PIL reads these as another format of the list, but knows their endings by a name of their own.
_READ_AS_OTHERS = ("MPO",)

_EXIF_ORIENTATION = 274
# these orientations exchange width and height of the upright picture
_EXIF_ON_ITS_SIDE = (5, 6, 7, 8)

# Version of the cached sizes. Raise it when the results of `upright_size` change.
_CACHE_VERSION = 2
# The cache is written after this many new sizes, so a killed run loses no more than these.
_SAVE_EVERY = 4000
# How many unreadable pictures a message names besides the first.
_NAMED = 5

# Size in bytes and modification time of a file, width and height of its picture.
_Entry = tuple[int, int, int, int]


class DamagedImageError(ValueError):
    """An image file cannot be decoded. The cause is the error of the decoder."""


def find_images(
    names: Sequence[str],
    folders: Sequence[str | os.PathLike[str]],
    source: str,
    *,
    other_endings: bool = False,
) -> list[Path]:
    """Find the file of each image. Every folder is listed only once.

    Args:
        names: file names without folder.
        folders: folders to search, in this order.
        source: the file that lists the names, for messages.
        other_endings: also accept a file that has the same name with another ending.

    Raises:
        FileNotFoundError: some images are in no folder, or have several files that differ in the ending.
    """
    present: dict[str, Path] = {}
    for folder in reversed([Path(folder) for folder in folders]):
        if folder.is_dir():
            present |= dict.fromkeys(os.listdir(folder), folder)
    by_stem: dict[str, list[str]] = {}
    if other_endings:
        for name in present:
            by_stem.setdefault(Path(name).stem, []).append(name)
    candidates = [[name] if name in present else by_stem.get(Path(name).stem, []) for name in names]
    lost = [i for i, found in enumerate(candidates) if len(found) != 1]
    if lost:
        several = sorted(candidates[lost[0]])
        raise FileNotFoundError(
            f"{source} lists image {names[lost[0]]!r}, but {' and '.join(map(str, folders))} has "
            f"{f'several files of that name: {several}' if several else 'no such file'}; this concerns "
            f"{len(lost)} of {len(names)} images. Check DETECTRON2_DATASETS and unpack the images as "
            "datasets/README.md shows."
        )
    found_names = [found for (found,) in candidates]
    renamed = [name for name, found in zip(names, found_names, strict=True) if name != found]
    if renamed:
        logger.info(
            "%s: %d images have another ending on disk, the first being %s.", source, len(renamed), renamed[0]
        )
    return [present[name] / name for name in found_names]


def read_image(file_name: str, image_format: str) -> NDArray[np.uint8]:
    """Read a picture and turn it upright, as its EXIF data say.

    Args:
        file_name: a file of a format that PIL decodes without other programs, such as JPEG, PNG, TIFF, WEBP
            or BMP, but not EPS. The content decides the format, not the ending of the name.
        image_format: a format of `detectron2.data.detection_utils.read_image`, for example "BGR".

    Returns:
        (H, W, channels) picture.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the system does not let this user read it.
        DamagedImageError: the file cannot be decoded, or is a pipe or device. It is a ValueError.
    """
    try:
        _check_kind(file_name)
        # As `detectron2.data.detection_utils.read_image`, which reads files of all formats.
        with PathManager.open(file_name, "rb") as file, _opened(file) as opened:
            upright = to_eight_bits(utils._apply_exif_orientation(opened))
            return _pixels(upright, image_format)
    except FileNotFoundError as error:
        raise _missing(file_name) from error
    except UNREADABLE as error:
        raise _damaged(file_name, error) from error


def _opened(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """PIL's picture of a file of one of the formats that are read."""
    # Loads the decoders of `_USUAL_FORMATS`. To load those of all others takes longer than to read a picture.
    Image.preinit()
    try:
        return Image.open(file, formats=_USUAL_FORMATS)
    except UnidentifiedImageError:
        return Image.open(file, formats=_formats())


def _pixels(image: Image.Image, image_format: str) -> NDArray[np.uint8]:
    """The array of Detectron2's `convert_PIL_to_numpy`; BGR is contiguous and may be written to.

    Detectron2's BGR is a view with its channels in reverse, which PIL copies slowly to resize a picture.
    """
    if image_format != "BGR":
        array: NDArray[np.uint8] = utils.convert_PIL_to_numpy(image, image_format)
        return array
    rgb = image.convert("RGB")
    pixels = np.frombuffer(rgb.tobytes("raw", "BGR"), dtype=np.uint8)
    return pixels.reshape(rgb.height, rgb.width, 3).copy()


def _check_kind(file_name: str) -> None:
    """Refuses what is no file. Opening a pipe, for example, waits until somebody writes into it."""
    try:
        mode = os.stat(file_name).st_mode
    except OSError:
        return  # the error of opening it says more
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("it is a pipe or a device, not a file")


def to_eight_bits(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel. PIL itself would make larger values white.

    Args:
        image: picture in any mode. Of 16 bits the upper 8 are kept.

    Raises:
        ValueError: its values have no known range, as those of 32 bits and of floats.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are numbers of 32 bits (PIL's mode {image.mode!r}), of which nobody says what is "
            "white: convert it to 8 bits"
        )
    return image


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this version of PIL knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def picture_endings() -> frozenset[str]:
    """Endings of file names, such as ".jpg", that belong to the formats that `read_image` reads."""
    formats = {*_formats(), *_READ_AS_OTHERS}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def upright_size(file_name: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) of the picture that `read_image` returns, from the file's header alone.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the system does not let this user read it.
        ValueError: the file is not an image.
    """
    try:
        with _opened(file_name) as image:
            width, height = image.size
            on_its_side = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_ON_ITS_SIDE
    except FileNotFoundError as error:
        raise _missing(file_name) from error
    except UNREADABLE as error:
        raise _damaged(file_name, error) from error
    return (height, width) if on_its_side else (width, height)


def image_sizes(paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.int64]:
    """(I, 2) width and height of the upright pictures, from the headers of the files.

    The sizes are cached in one cache file for each folder of pictures. So a second run opens only new files,
    even if the first run was interrupted. A cached size is valid as long as the file has the same size in
    bytes and the same modification time. Contents are not compared, because reading the files takes minutes
    on a network disk.

    Raises:
        OSError: a file does not exist, or the system does not let this user read it.
        ValueError: a file is not an image. If there are several, the message counts them and names the first
            few.
    """
    sizes = np.zeros((len(paths), 2), dtype=np.int64)
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        rows.setdefault(os.path.dirname(path), []).append(row)
    for folder, of_folder in rows.items():
        names = [os.path.basename(paths[row]) for row in of_folder]
        sizes[of_folder] = _sizes_in_folder(folder, names)
    return sizes


def cache_folder() -> Path:
    """`reldn_d2` in the user's cache folder, which the environment variable XDG_CACHE_HOME names.

    Raises:
        OSError: this user has no home folder, and the variable is not set.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named or Path.home() / ".cache") / "reldn_d2"
    except RuntimeError as error:
        raise OSError(
            "this user has no home folder, so there is no place for the cache of pictures and image sizes: "
            "set XDG_CACHE_HOME to a folder that you may write"
        ) from error


def _sizes_in_folder(folder: str, names: list[str]) -> list[tuple[int, int]]:
    """(width, height) of each picture. New sizes are added to the cache."""
    cache_file = (
        cache_folder() / "image_sizes" / f"v{_CACHE_VERSION}" / f"{digest([os.path.abspath(folder)])}.npz"
    )
    known = _read_cache(cache_file)

    def entry(name: str) -> _Entry | OSError | ValueError:
        path = os.path.join(folder, name)
        stamp = _stamp(path)
        kept = known.get(name)
        if kept is not None and kept[:2] == stamp:
            return kept
        try:
            return *stamp, *upright_size(path)
        except (OSError, ValueError) as error:
            return error

    sizes, unsaved = [], 0
    failures: dict[str, OSError | ValueError] = {}
    # disable=None: a bar on a terminal, nothing in a log file
    bar = tqdm(total=len(names), desc="image sizes", leave=False, disable=None)
    try:
        with ThreadPoolExecutor() as pool, bar:
            for name, found in zip(names, pool.map(entry, names), strict=True):
                bar.update()
                if isinstance(found, Exception):
                    failures[name] = found
                    continue
                sizes.append(found[2:])
                if known.get(name) != found:
                    known[name] = found
                    unsaved += 1
                if unsaved == _SAVE_EVERY:
                    _write_cache(cache_file, known)
                    unsaved = 0
    finally:
        # also runs after an error or an interrupt
        if unsaved:
            _write_cache(cache_file, known)
    if failures:
        first, *others = failures
        also = f" This concerns {len(failures)} of {len(names)} images, such as {', '.join(others[:_NAMED])}."
        raise type(failures[first])(f"{failures[first]}{also if others else ''}")
    return sizes


def _stamp(path: str) -> tuple[int, int]:
    """Size in bytes and modification time of a file; (-1, -1), which no file has, if it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _read_cache(path: Path) -> dict[str, _Entry]:
    try:
        # What has no digest is read again.
        wanted = ("names", "entries", "sha256")
        arrays = read_arrays(path, wanted, what="cache of image sizes", remedy="delete it")
        names, entries = arrays["names"], arrays["entries"]
        right = names.dtype.kind == "U" and entries.dtype == np.int64 and entries.shape == (len(names), 4)
        if not right or (entries[:, 2:] < 1).any():
            raise ValueError("it does not hold four numbers for each picture")
        pairs = zip(names.tolist(), entries.tolist(), strict=True)
        return {name: (size, changed, width, height) for name, (size, changed, width, height) in pairs}
    except FileNotFoundError:
        pass
    # Of an array without axes, for example, nothing can be asked.
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s of the cache cannot be read (%s): the image sizes are read again.", path, error)
    return {}


def _write_cache(path: Path, known: dict[str, _Entry]) -> None:
    names, entries = zip(*known.items(), strict=True)
    try:
        arrays = {"names": np.array(names), "entries": np.array(entries, dtype=np.int64)}
        write_arrays(path, arrays, compressed=True)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the next run reads the image sizes again.", path, error)


def _missing(file_name: str | os.PathLike[str]) -> FileNotFoundError:
    path, root = Path(file_name), Path(datasets_root())
    if path.is_relative_to(root):
        # The folder of a data set that is known by name.
        remedy = f"Check DETECTRON2_DATASETS, which is {root} (datasets/README.md shows the expected tree)."
    else:
        there = "is there, but has no such file" if path.parent.is_dir() else "does not exist either"
        remedy = (
            f"Its folder {path.parent} {there}: check the image folder that the data set was given "
            "(--image-root, `images` in a data file, or `image_root`), and the `file_name` of the image."
        )
    return FileNotFoundError(f"Image {path} does not exist. {remedy}")


def _damaged(file_name: str | os.PathLike[str], error: BaseException) -> OSError | ValueError:
    if isinstance(error, OSError) and is_of_the_system(error):
        return explained(error, file_name)
    return DamagedImageError(
        f"Image {os.fspath(file_name)} cannot be read ({error}). The file is damaged or not an image: "
        "replace it, or take the image out of the annotations."
    )
