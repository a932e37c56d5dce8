"""Image files: finding them in their folders, reading them upright, and their sizes, which are cached.

Errors name the file.
"""

import io
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.utils.file_io import PathManager
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from reldn_d2.structures.dataset_dicts import DatasetDict, describe
from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.io import digest
from reldn_d2.utils.refusals import Refusal, collected, refuse
from reldn_d2.utils.system_errors import explained, is_of_the_system

from .pixels import UnusablePictureError, has_more_pictures, orientation, to_pixels, upright_size_of
from .registration import datasets_root
from .tar_members import TarMember
from .without_pictures import NO_LIMIT, KnownSizes, known_sizes

logger = logging.getLogger(__name__)

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

#: Environment variable: the largest number of pixels of a picture that is read.
MAX_PIXELS = "RELDN_D2_MAX_PIXELS"

# Version of the cached sizes. Raise it when the results of `upright_size` change.
_CACHE_VERSION = 2
# The cache is written after this many new sizes, so a killed run loses no more than these.
_SAVE_EVERY = 4000
# How many unreadable pictures a message names besides the first.
_NAMED = 5
# A pixel without compression, with four channels of eight bits; and a profile, a preview, notes.
_BYTES_A_PIXEL, _BYTES_BESIDE_PIXELS = 4, 64 * 2**20
_NEW_PICTURE = "Replace the file, or take the image out of the annotations."

# Size in bytes and modification time of a file, width and height of its picture.
_Entry = tuple[int, int, int, int]
_Read = TypeVar("_Read")


class DamagedImageError(ValueError):
    """An image file cannot be decoded. The cause is the error of the decoder."""


def find_images(
    names: Sequence[str],
    folders: Sequence[str | os.PathLike[str]],
    source: str,
    *,
    other_endings: bool = False,
) -> dict[str, Path]:
    """Find the file of each image. Every folder is listed only once.

    Args:
        names: file names without folder, each once.
        folders: folders to search, in this order.
        source: the file that lists the names, for messages.
        other_endings: also accept a file that has the same name with another ending.

    Returns:
        Name -> file, in the order of the names; without refused ones, see `reldn_d2.utils.refusals`.

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
    candidates = {name: [name] if name in present else by_stem.get(Path(name).stem, []) for name in names}
    lost = [name for name, files in candidates.items() if len(files) != 1]

    def record(k: int) -> Refusal:
        several = sorted(candidates[lost[k]])
        has = f"several files of that name: {several}" if several else "no such file"
        where = " and ".join(map(str, folders))
        return Refusal(
            f"image {lost[k]!r}",
            f"{where} has {has}; this concerns {len(lost)} of {len(names)} images",
            "Check DETECTRON2_DATASETS and unpack the images as datasets/README.md shows.",
        )

    refuse(source, "missing or unclear picture", len(lost), record, FileNotFoundError)
    found = {name: files[0] for name, files in candidates.items() if len(files) == 1}
    renamed = [name for name, file in found.items() if name != file]
    if renamed:
        logger.info(
            "%s: %d images have another ending on disk, the first being %s.",
            source, len(renamed), found[renamed[0]],
        )  # fmt: skip
    return {name: present[file] / file for name, file in found.items()}


class SizedImage(NamedTuple):
    """A picture file, and width and height of the upright picture in pixels."""

    path: Path
    size: tuple[int, int]


def find_sized_images(
    names: Sequence[str],
    folders: Sequence[str | os.PathLike[str]],
    source: str,
    *,
    other_endings: bool = False,
    given_sizes: Mapping[str, tuple[int, int]] | None = None,
    boxes_are_shares: bool = True,
) -> dict[str, SizedImage]:
    """Find the file of each image, and its size. See `find_images` and `image_sizes`.

    Within `without_pictures`, a picture may be missing.

    Args:
        names, folders, source, other_endings: see `find_images`.
        given_sizes: name -> width and height. These files are not opened.
        boxes_are_shares: whether the boxes of the annotation are shares of the image, which need its size.
            If not, an image without a picture and without a known size has the size `NO_LIMIT`.

    Returns:
        Name -> file and size, in the order of the names; without refused ones.

    Raises:
        FileNotFoundError, OSError, ValueError: see `find_images` and `image_sizes`; or a size that is needed
            is not known.
    """
    sizes = dict(given_sizes or {})
    known = known_sizes()
    if known is None:
        paths = find_images(names, folders, source, other_endings=other_endings)
    else:
        sizes = _sizes_of(names, known) | sizes
        # What is missing is not refused here.
        with collected():
            there = find_images(
                [x for x in names if x not in sizes], folders, source, other_endings=other_endings
            )
        absent = [x for x in names if x not in sizes and x not in there]
        sizes |= _unknown_sizes(absent, len(names), source, known, boxes_are_shares)
        paths = {name: there.get(name, Path(folders[0], name)) for name in names}
    opened = [name for name in paths if name not in sizes]
    for name, (width, height) in zip(opened, image_sizes([paths[name] for name in opened]), strict=True):
        sizes[name] = int(width), int(height)
    return {name: SizedImage(path, sizes[name]) for name, path in paths.items() if sizes[name][0]}


def _sizes_of(names: Sequence[str], known: KnownSizes) -> dict[str, tuple[int, int]]:
    """The sizes that are given for images, which are counted."""
    sizes = {name: size for name in names if (size := known.of(name)) is not None}
    known.used += len(sizes)
    return sizes


def _unknown_sizes(
    absent: Sequence[str], count: int, source: str, known: KnownSizes, boxes_are_shares: bool
) -> dict[str, tuple[int, int]]:
    """What stands for the sizes of images without a picture.

    Args:
        absent: names of these images, of `count` images.
        count, source, known, boxes_are_shares: see `find_sized_images`.

    Raises:
        FileNotFoundError: sizes are needed, and there is no frame.
    """
    if not absent:
        return {}
    which = f"neither a picture nor a known size for {len(absent)} of {count} images, such as {absent[0]}"
    if not boxes_are_shares:
        logger.warning(
            "%s: %s. Their boxes are taken as they are: none is clipped to the right or the lower side of "
            "its image. --image-sizes FILE gives sizes.",
            source, which,
        )  # fmt: skip
        return dict.fromkeys(absent, NO_LIMIT)
    if known.frame is None:
        raise FileNotFoundError(
            f"{source}: {which}. The boxes of the file are shares of the images: give a table of sizes "
            "(--image-sizes FILE.csv with image_id,width,height), or the pictures"
        )
    known.framed += len(absent)
    logger.warning("%s: %s. Overlaps are those of shares of the image.", source, which)
    return dict.fromkeys(absent, known.frame)


def read_image(file: str | bytes, image_format: str) -> NDArray[np.uint8]:
    """Read a picture and turn it upright, as its EXIF data say.

    Args:
        file: the name of a file, or its content, of a format that PIL decodes without other programs, such as
            JPEG, PNG, TIFF, WEBP or BMP, but not EPS. The content decides the format, not the ending of the
            name.
        image_format: a format of `detectron2.data.detection_utils.read_image`, for example "BGR".

    Returns:
        (H, W, channels) picture.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the system does not let this user read it.
        UnusablePictureError: the picture has more pixels than `pixel_limit`, or numbers without a known
            range. It is a ValueError.
        DamagedImageError: the file cannot be decoded, or is a pipe or device. It is a ValueError.
        ValueError: see `pixel_limit`.
    """
    limit = pixel_limit()
    name = f"of {len(file):,} bytes" if isinstance(file, bytes) else file
    try:
        with _stream(file) as stream, _opened(stream, limit) as opened:
            return to_pixels(opened, image_format)
    except FileNotFoundError as error:
        raise _missing(name) from error
    except MemoryError:
        raise
    # A damaged file may make a decoder raise any exception.
    except Exception as error:
        raise _damaged(name, error) from error


def _stream(file: str | bytes) -> IO[bytes]:
    """A file to read from: one with a name, or one in memory."""
    if isinstance(file, bytes):
        return io.BytesIO(file)
    _check_kind(file)
    # As `detectron2.data.detection_utils.read_image`, which reads files of all formats.
    opened: IO[bytes] = PathManager.open(file, "rb")
    return opened


def check_size(dataset_dict: DatasetDict, image: NDArray[Any]) -> tuple[int, int]:
    """Check that a picture has the size that its dataset dict names. The dict is not modified.

    Args:
        dataset_dict: dict of the picture; without "width" or "height", any picture fits.
        image: (H, W, channels) picture, turned upright.

    Returns:
        (width, height) of the picture in pixels.

    Raises:
        SizeMismatchError: it has another size. It is a ValueError.
    """
    height, width = image.shape[:2]
    expected = (dataset_dict.get("width", width), dataset_dict.get("height", height))
    if expected == (width, height):
        return width, height
    is_turned = expected == (height, width)
    cause = (
        ". Its EXIF data may turn the picture, which is read upright: exchange both, and turn the boxes"
        if is_turned
        else ". Its boxes may belong to another copy: take the picture of that size, or correct both"
    )
    raise SizeMismatchError(
        f"{describe(dataset_dict)}: the picture has {width} x {height} pixels, but width and height of its "
        f"dataset dict are {expected[0]} x {expected[1]}{cause}. `reldn check` lists all such images"
    )


def pixel_limit() -> int | None:
    """The largest number of pixels of a picture that is read: what RELDN_D2_MAX_PIXELS says.

    Returns:
        None: the variable is not set, and twice `PIL.Image.MAX_IMAGE_PIXELS` counts, which is 178,956,970.

    Raises:
        ValueError: the variable is no whole number above 0.
    """
    text = os.environ.get(MAX_PIXELS, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not int(text):
        raise ValueError(
            f"the environment variable {MAX_PIXELS} is {text!r}: give the largest number of pixels of a "
            "picture that is read, a whole number above 0"
        )
    return int(text)


def byte_limit() -> int:
    """The largest number of bytes of an encoded picture that is taken into memory.

    It leaves room for all pixels of the largest picture (`pixel_limit`) without compression, and for data
    about the picture. So what is larger is no picture that `read_image` would read.

    Raises:
        ValueError: see `pixel_limit`.
    """
    pixels = pixel_limit() or 2 * (Image.MAX_IMAGE_PIXELS or 0)
    return _BYTES_A_PIXEL * pixels + _BYTES_BESIDE_PIXELS


def _of_header(file_name: str | os.PathLike[str], read: Callable[[Image.Image], _Read]) -> _Read:
    """What a function reads from the header of a picture file. Errors are those of `upright_size`."""
    limit = pixel_limit()
    try:
        with PathManager.open(os.fspath(file_name), "rb") as file, _opened(file, limit) as image:
            return read(image)
    except FileNotFoundError as error:
        raise _missing(file_name) from error
    except MemoryError:
        raise
    # As in `read_image`.
    except Exception as error:
        raise _damaged(file_name, error) from error


def _opened(file: str | os.PathLike[str] | IO[bytes], limit: int | None) -> Image.Image:
    """PIL's picture of a file of one of the formats that are read. Its pixels are not decoded yet.

    Args:
        file: the file.
        limit: see `pixel_limit`.
    """
    if limit is not None and Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        # The user wants more than PIL would open.
        Image.MAX_IMAGE_PIXELS = limit
    # Loads the decoders of `_USUAL_FORMATS`. To load those of all others takes longer than to read a picture.
    Image.preinit()
    try:
        try:
            image = Image.open(file, formats=_USUAL_FORMATS)
        except UnidentifiedImageError:
            image = Image.open(file, formats=_formats())
    except UnidentifiedImageError as error:
        # PIL says where the content is in memory, so that no two runs would say the same.
        raise UnidentifiedImageError("cannot identify image file") from error
    except Image.DecompressionBombError as error:
        raise _too_large("it has", 2 * (Image.MAX_IMAGE_PIXELS or 0)) from error
    number = image.width * image.height
    if limit is not None and number > limit:
        image.close()
        raise _too_large(f"{image.width} x {image.height} are", limit)
    return image


def _too_large(size: str, limit: int) -> UnusablePictureError:
    return UnusablePictureError(
        f"{size} more than {limit:,} pixels, the largest number that is read: make it smaller, or set the "
        f"environment variable {MAX_PIXELS} to a larger number"
    )


def _check_kind(file_name: str) -> None:
    """Refuses what is no file. Opening a pipe, for example, waits until somebody writes into it."""
    try:
        mode = os.stat(file_name).st_mode
    except OSError:
        return  # the error of opening it says more
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("it is a pipe or a device, not a file")


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
        UnusablePictureError: the picture has more pixels than `pixel_limit`. It is a ValueError.
        ValueError: the file is not an image, or see `pixel_limit`.
    """
    return _of_header(file_name, upright_size_of)


class Header(NamedTuple):
    """What the header of a picture file says besides the size.

    Attributes:
        orientation: how `read_image` turns the picture: the orientation of its EXIF data, from 1 (not at all)
            to 8.
        has_more_pictures: whether it is an animation or has pages. `read_image` reads the first picture.
    """

    orientation: int
    has_more_pictures: bool


def read_header(file_name: str | os.PathLike[str]) -> Header:
    """Read the header of a picture file.

    Raises:
        FileNotFoundError, OSError, ValueError: see `upright_size`.
    """
    return _of_header(file_name, lambda image: Header(orientation(image), has_more_pictures(image)))


def image_sizes(paths: Sequence[str | os.PathLike[str]]) -> NDArray[np.int64]:
    """(I, 2) width and height of the upright pictures, from the headers of the files; 0 for refused ones.

    The sizes are cached in one cache file for each folder of pictures. So a second run opens only new files,
    even if the first run was interrupted. A cached size is valid as long as the file has the same size in
    bytes and the same modification time. Contents are not compared, because reading the files takes minutes
    on a network disk.

    Raises:
        OSError: a file does not exist, or the system does not let this user read it.
        ValueError: a file is not an image. If there are several, the message counts them and names the first
            few. Nothing is raised where refused records are collected, see `reldn_d2.utils.refusals`.
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
    """(width, height) of each picture, 0 for refused ones. New sizes are added to the cache."""
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
                    sizes.append((0, 0))
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
        error = type(failures[first])(f"{failures[first]}{also if others else ''}")
        texts = [(name, str(failures[name])) for name in failures]
        refuse(
            folder,
            "picture that can't be read",
            len(texts),
            lambda k: Refusal(f"picture {texts[k][0]!r}", texts[k][1].removesuffix("."), _NEW_PICTURE),
            error,
        )
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
    member = TarMember.of(file_name)
    if member is not None:
        return FileNotFoundError(
            f"Image {member.name} can't be read: its tar file {member.tar} does not exist. Put it back, or "
            "correct the image folder of the data set."
        )
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
    if isinstance(error, UnusablePictureError):
        return UnusablePictureError(error.reason, file_name)
    return DamagedImageError(
        f"Image {os.fspath(file_name)} cannot be read ({error}). The file is damaged or not an image: "
        "replace it, or take the image out of the annotations."
    )
