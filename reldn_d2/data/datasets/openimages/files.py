"""Where in a folder the files of a split of OpenImages are, under any of the names they were published with."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from reldn_d2.utils.csv_files import find_file

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")

# How a split is called in the names of files: challenge-2018-train-vrd.csv, validation-annotations-vrd.csv.
_WORDS = {"train": "train", "val": "validation", "test": "test"}
# In 2018, validation was a part of the training file: the images of this list.
_VALIDATION_LIST = "*-image-ids-valset-vrd.csv"
_TRAIN_OF_2018 = "challenge-2018-train-vrd.csv"
# Archives of pictures are often unpacked to train_0, train_1, and so on.
_PICTURES = {"train": ("train/", "train_*/"), "val": ("validation/", "val/"), "test": ("test/",)}


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split.

    Attributes:
        relationships: the CSV of relationships.
        validation_list: the list of those of its images that are validation, if train and val share `relationships`.
        image_labels: the CSV of image labels, None if there is none.
        picture_folders: where its pictures may be.
    """

    relationships: Path
    validation_list: Path | None
    image_labels: Path | None
    picture_folders: list[Path]


def check_split(split: str) -> None:
    """
    Raises:
        ValueError: unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"OpenImages has the splits {SPLITS}, not {split!r}.")


def split_files(root: str | os.PathLike[str], split: str) -> SplitFiles:
    """
    Raises:
        FileNotFoundError: no CSV of relationships for the split, or no folder of pictures.
        ValueError: unknown split, or several files that could be the same.
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
        # where there is a list, it is the training file that is missing
        listed = f" and no list {_VALIDATION_LIST} of images of the training file" if source == "val" else ""
        raise _missing(base, f"file {_relationships(source)}{listed}")
    if relationships.name == _TRAIN_OF_2018 and not _has_validation(base):
        logger.warning(
            "%s has no list %s: split 'train' is all of %s, the images of the validation of 2018 included. Get the list, as "
            "datasets/README.md says, to keep them apart.",
            base, _VALIDATION_LIST, _TRAIN_OF_2018,
        )  # fmt: skip
    patterns = dict.fromkeys(_PICTURES[split] + _PICTURES[source])
    folders = [folder for pattern in patterns for folder in sorted(base.glob(pattern))]
    if not folders:
        raise _missing(base, f"folder of pictures ({', '.join(patterns)})")
    image_labels = find_file(base, [f"*{_WORDS[source]}*-vrd-labels.csv"], "the image labels")
    return SplitFiles(relationships, validation_list, image_labels, folders)


def _has_validation(base: Path) -> bool:
    patterns = (_VALIDATION_LIST, _relationships("val"))
    return any(any(base.glob(pattern)) for pattern in patterns)


def _relationships(split: str) -> str:
    return f"*{_WORDS[split]}*-vrd.csv"


def _missing(base: Path, what: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{base} has no {what}. Check DETECTRON2_DATASETS and put OpenImages there as datasets/README.md shows."
    )
