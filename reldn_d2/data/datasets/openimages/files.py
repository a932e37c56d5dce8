"""Finding the files of a split of OpenImages, under any of the names that they were published with."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...without_pictures import known_sizes

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")

# The word for a split in the names of files: challenge-2018-train-vrd.csv, validation-annotations-vrd.csv.
_WORDS = {"train": "train", "val": "validation", "test": "test"}
# In 2018 the validation images were part of the training file. This list names them.
_VALIDATION_LIST = "*-image-ids-valset-vrd.csv"
_TRAIN_OF_2018 = "challenge-2018-train-vrd.csv"
# Archives of pictures are often unpacked to train_0, train_1, and so on.
_PICTURES = {"train": ("train/", "train_*/"), "val": ("validation/", "val/"), "test": ("test/",)}


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split.

    Attributes:
        relationships: CSV file of relationships.
        validation_list: file that lists the validation images, if train and val share `relationships`.
        image_labels: CSV file of image labels; None if the folder has none.
        picture_folders: folders to search for the pictures.
    """

    relationships: Path
    validation_list: Path | None
    image_labels: Path | None
    picture_folders: list[Path]


def check_split(split: str) -> None:
    """Check the name of a split.

    Raises:
        ValueError: unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"OpenImages has the splits {SPLITS}, not {split!r}.")


def split_files(root: str | os.PathLike[str], split: str) -> SplitFiles:
    """Find the files of a split.

    Args:
        root: folder of the files.
        split: "train", "val" or "test".

    Raises:
        FileNotFoundError: the folder has no CSV of relationships for the split, or no folder of pictures,
            outside of `without_pictures`.
        ValueError: unknown split, or several files could be the same file of the split.
    """
    check_split(split)
    base = Path(root)
    validation_list = None
    if split != "test":
        validation_list = find_file(base, [_VALIDATION_LIST], "the list of validation images")
    source = split
    if split == "val" and validation_list is not None:
        find_file(base, [_VALIDATION_LIST, _relationships("val")], "the validation split")
        source = "train"
    relationships = find_file(base, [_relationships(source)], f"the relationships of split {source!r}")
    if relationships is None:
        # with a list of validation images, the training file is the missing one
        listed = f" and no list {_VALIDATION_LIST} of images of the training file" if source == "val" else ""
        raise _missing(base, f"file {_relationships(source)}{listed}")
    if relationships.name == _TRAIN_OF_2018 and not _has_validation(base):
        logger.warning(
            "%s has no list %s: split 'train' is all of %s, including the validation images of 2018. Get "
            "the list, as datasets/README.md says, to keep them apart.",
            base, _VALIDATION_LIST, _TRAIN_OF_2018,
        )  # fmt: skip
    patterns = dict.fromkeys(_PICTURES[split] + _PICTURES[source])
    folders = [folder for pattern in patterns for folder in sorted(base.glob(pattern))]
    if not folders:
        if known_sizes() is None:
            raise _missing(base, f"folder of pictures ({', '.join(patterns)})")
        folders = [base / next(iter(patterns))]  # where they would be
    image_labels = find_file(base, [f"*{_WORDS[source]}*-vrd-labels.csv"], "the image labels")
    return SplitFiles(relationships, validation_list, image_labels, folders)


def find_file(folder: str | os.PathLike[str], patterns: Sequence[str], what: str) -> Path | None:
    """Find the file of a folder that matches one of the patterns; None if there is none.

    Args:
        folder: folder to search.
        patterns: glob patterns.
        what: description of the file, for the message.

    Raises:
        ValueError: several files match.
    """
    found = sorted(path for pattern in patterns for path in Path(folder).glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(
            f"{folder}: several files could be {what}: {names}. Keep one there and move the others away."
        )
    return found[0] if found else None


def _has_validation(base: Path) -> bool:
    patterns = (_VALIDATION_LIST, _relationships("val"))
    return any(any(base.glob(pattern)) for pattern in patterns)


def _relationships(split: str) -> str:
    return f"*{_WORDS[split]}*-vrd.csv"


def _missing(base: Path, what: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{base} has no {what}. Check DETECTRON2_DATASETS and put OpenImages there as datasets/README.md "
        "shows."
    )
