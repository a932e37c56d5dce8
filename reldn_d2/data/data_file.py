"""A data file: names the splits of your own data set, for `--data party.yaml`.

It is YAML, and says for each split where its COCO-relations file and its images are, nothing else:

    train: {annotations: train.json, images: images}
    test: {annotations: test.json, images: images}

Images may be in tar files, such as the shards of WebDataset: `images: shards/train-*.tar`, see
`file_names_in_tars`.

A split with `outside_root: true` takes images from anywhere that its annotation file names, see
`load_coco_relations`. The data file is yours, as a config is; the annotation files may be those of others.

The splits are `train`, `val` and `test`; each may be left out. Paths are relative to the data file. The data
sets get the file's name and the split's: those of `party.yaml` are `party_train` and `party_test`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.utils.json_files import read_text
from reldn_d2.utils.yaml_files import parse_yaml

from .datasets.coco_relations import read_class_names, register_coco_relations
from .image_tars import find_tar_files, names_tar_files

#: Names that a split can have.
SPLITS = ("train", "val", "test")

_KEYS = ("annotations", "images")
_OUTSIDE = "outside_root"
_EXAMPLE = "train: {annotations: train.json, images: images}"


@dataclass(frozen=True)
class Split:
    """The files of one split; paths are absolute.

    Attributes:
        annotations: COCO-relations file.
        images: folder that the `file_name` of the images is relative to, or a pattern of tar files that have
            them as members.
        outside_root: whether a `file_name` may lead out of this folder.
    """

    annotations: Path
    images: Path
    outside_root: bool = False


@dataclass(frozen=True)
class RegisteredData:
    """The data sets of a data file, under their registered names.

    Attributes:
        path: the data file.
        names: split -> registered name, for example "train" -> "party_train".
        thing_classes: names of the entity classes, in the order of their numbers.
        predicate_classes: names of the predicates, in the order of their numbers, without the background.
    """

    path: Path
    names: Mapping[str, str]
    thing_classes: tuple[str, ...]
    predicate_classes: tuple[str, ...]

    @property
    def train(self) -> str | None:
        """Name of the training set; None if the file has none."""
        return self.names.get("train")

    @property
    def test(self) -> str | None:
        """Name of the data set to evaluate on: `test`, else `val`; None if the file has neither."""
        return self.names.get("test", self.names.get("val"))


def read_data_file(path: str | os.PathLike[str]) -> dict[str, Split]:
    """Reads and checks a data file. The annotation files are not opened.

    Args:
        path: YAML file, see the module's docstring.

    Returns:
        Split -> its files, in the order of `SPLITS`.

    Raises:
        FileNotFoundError: the file, an annotation file or an image folder does not exist.
        ValueError: the file is not YAML, or has unknown, repeated or missing keys, or two splits have the
            same annotation file. The message names file and key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"data file {path} does not exist: correct --data")
    try:
        content = parse_yaml(read_text(path), path)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} can't be read as YAML: {reason}. Write {_EXAMPLE}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} names no split. Write, for example, {_EXAMPLE}")
    _check_keys(path, "the file", content, SPLITS)
    splits = {name: _read_split(path, name, content[name]) for name in SPLITS if name in content}
    seen: dict[Path, str] = {}
    for name, split in splits.items():
        other = seen.setdefault(split.annotations, name)
        if other != name:
            raise ValueError(
                f"{path}: {other!r} and {name!r} have the same annotations, {split.annotations}. Give each "
                "split a file of its own: a model that is tested on its training images always looks good"
            )
    return splits


def register_data_file(path: str | os.PathLike[str]) -> RegisteredData:
    """Registers the splits of a data file. Images and annotations are read when a data set is loaded.

    Registering the same file again changes nothing.

    Args:
        path: data file, see `read_data_file`.

    Raises:
        FileNotFoundError: see `read_data_file`.
        ValueError: see `read_data_file`; or an annotation file has no valid lists of classes, the lists of
            two splits differ, or a name is registered already for other files.
    """
    path = Path(path)
    splits = read_data_file(path)
    vocabularies = {name: read_class_names(split.annotations) for name, split in splits.items()}
    first, (things, predicates) = next(iter(vocabularies.items()))
    for name, (other_things, other_predicates) in vocabularies.items():
        _check_equal(path, "categories", (first, things), (name, other_things))
        _check_equal(path, "predicates", (first, predicates), (name, other_predicates))
    names = {name: f"{path.stem}_{name}" for name in splits}
    # Checked for all splits before the first is registered.
    taken = [name for split, name in names.items() if _is_taken(name, splits[split])]
    if taken:
        raise ValueError(
            f"{path}: its data sets take the name of the file, but {' and '.join(taken)} is the name of "
            "another data set already. Rename the file"
        )
    for name, split in splits.items():
        register_coco_relations(
            names[name],
            {"thing_classes": things, "predicate_classes": predicates},
            split.annotations,
            split.images,
            train_dataset=names.get("train") if name != "train" else None,
            outside_root=split.outside_root,
        )
    return RegisteredData(path, names, tuple(things), tuple(predicates))


def _read_split(path: Path, name: str, content: Any) -> Split:
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {name!r} is {content!r}, not a pair of files. Write {_EXAMPLE}")
    _check_keys(path, repr(name), content, (*_KEYS, _OUTSIDE))
    for key in _KEYS:
        if key not in content:
            raise ValueError(f"{path}: {name!r} lacks {key!r}. Write {_EXAMPLE}")
        if not isinstance(content[key], str) or not content[key]:
            raise ValueError(f"{path}: {key!r} of {name!r} is {content[key]!r}. Give a path")
    outside_root = content.get(_OUTSIDE, False)
    if not isinstance(outside_root, bool):
        raise ValueError(f"{path}: {_OUTSIDE!r} of {name!r} is {outside_root!r}. Write true, or leave it out")
    annotations, images = (path.resolve().parent / Path(content[key]).expanduser() for key in _KEYS)
    if not annotations.is_file():
        raise FileNotFoundError(
            f"{path}: 'annotations' of {name!r}: there is no file {annotations}. Paths are relative to the "
            "data file: correct it"
        )
    try:
        # An address is named as it stands.
        if names_tar_files(content["images"] if "://" in content["images"] else images):
            find_tar_files(images)
            return Split(annotations.resolve(), Path(os.path.abspath(images)), outside_root)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{path}: 'images' of {name!r}: {error}") from error
    if not images.is_dir():
        raise FileNotFoundError(
            f"{path}: 'images' of {name!r}: there is no folder {images}. Paths are relative to the "
            "data file: correct it"
        )
    return Split(annotations.resolve(), images.resolve(), outside_root)


def _check_keys(path: Path, where: str, found: Iterable[object], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(known)}"
            raise ValueError(f"{path}: {where} has the unknown key {key!r}. {hint}")


def _check_equal(path: Path, kind: str, one: tuple[str, list[str]], other: tuple[str, list[str]]) -> None:
    (first, names), (second, others) = one, other
    if names == others:
        return
    pairs = zip(names, others, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(names), len(others)))
    left, right = (x[place] if place < len(x) else None for x in (names, others))
    raise ValueError(
        f"{path}: {first!r} has {len(names)} {kind} and {second!r} has {len(others)}; they differ first in "
        f"number {place + 1}, {left!r} and {right!r} (in the order of their ids). All splits must have the "
        f"same {kind}: write the same list into both files"
    )


def _is_taken(name: str, split: Split) -> bool:
    """Whether a name is registered for other files, or by another project."""
    if name not in DatasetCatalog:
        return False
    metadata = MetadataCatalog.get(name)
    known = (metadata.get("annotation_file"), metadata.get("image_root"))
    return known != (os.fspath(split.annotations), os.fspath(split.images))
