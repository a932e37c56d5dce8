"""Label Studio's JSON export as a data set: boxes with labels, and relations between them.

`label_studio_export.py` reads the file and says how it answers what the file leaves open. This module finds
the pictures, turns per cent into pixels and labels into numbers:

* A picture is found by its address: the longest end of its path that is a file in the image folder, such as
  `photos/one.png` or `one.png` for `/data/local-files/?d=photos/one.png`. If there is none, a file of this
  name in any folder below, which is counted: the address does not end in its whole path below the image
  folder. It is missing if the address names another folder that is in the image folder. The eight digits that
  Label Studio puts before the name of an uploaded file, and what it does to spaces and special characters,
  count only if there is no file of the very name.
* Boxes are clipped to their picture, which `reldn check` notes. One without an area in it is left out, with
  its relations.
* Images without boxes or relations are kept.
"""

import errno
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.structures.vocabulary import nearest_names
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.plain_text import short
from reldn_d2.utils.refusals import Refusal, refuse, refuse_one

from ..fit_boxes import mark_changed_boxes
from ..images import image_sizes
from ..registration import register_relation_dataset, set_metadata_of_file
from ..without_pictures import NO_LIMIT, known_sizes
from .label_studio_export import Counts, Task, address_paths, inner_parts, read_export, same_shape

# What Label Studio puts before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
# How many tasks or files a message names.
_NAMED = 5
# Characters. No system takes a longer path.
_LONGEST_PATH = 4096
# Pixels. Rounding of the editor is no box that reaches out of the image.
_OUTSIDE = 1e-3


def load_label_studio(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    *,
    thing_classes: Sequence[str] | None = None,
    predicate_classes: Sequence[str] | None = None,
    annotator: int | str | None = None,
    image_key: str | None = None,
    skip_missing_images: bool = False,
) -> list[DatasetDict]:
    """Reads an export into dataset dicts. Only the headers of the pictures are read.

    A line of the log counts what was changed and what was left out, and names the first task of each case.

    Args:
        json_file: Label Studio's export "JSON". JSON-MIN has no relations and is refused.
        image_root: folder of the pictures.
        dataset_name: when given, the names of the classes go to this data set's metadata.
        thing_classes: names of the entity classes, in the order of their numbers; None: those of the file,
            sorted.
        predicate_classes: names of the predicates, in the same form.
        annotator: id or e-mail of the person whose annotations are taken; None: of everybody.
        image_key: key of the image in the `data` of a task; None: the one whose value looks like a picture.
        skip_missing_images: whether tasks whose picture is missing are left out and counted.

    Raises:
        ValueError: the file is no such export or is damaged, names a class that the given names lack, a
            picture has another shape than the file says, or two are meant by one address.
        FileNotFoundError: the file, the folder or a picture is missing.
        OSError: the system does not let this user read a file.
    """
    path = os.fspath(json_file)
    tasks, counts = read_export(path, annotator=annotator, image_key=image_key)
    labels = [(task, entity.label) for task in tasks for entity in task.entities]
    predicates = [(task, relation.label) for task in tasks for relation in task.relations]
    things = _numbers(path, "class", labels, thing_classes)
    relations = _numbers(path, "predicate", predicates, predicate_classes)
    found, absent = _find_pictures(path, tasks, Path(image_root), skip_missing_images, counts)
    sizes = image_sizes([picture for _, picture in found]).tolist()
    pictures = [
        _Picture(task, picture, (width, height))
        for (task, picture), (width, height) in zip(found, sizes, strict=True)
        if width  # else the file is refused
    ]
    pictures += _absent_pictures(path, absent, Path(image_root))
    dataset_dicts = [
        _dataset_dict(picture, things, relations, counts) for picture in _of_right_shape(path, pictures)
    ]
    counts.log(path, len(dataset_dicts))
    if dataset_name is not None:
        names = {"thing_classes": list(things), "predicate_classes": list(relations)}
        set_metadata_of_file(dataset_name, path, names)
    return dataset_dicts


def register_label_studio(
    name: str,
    metadata: Mapping[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    train_dataset: str | None = None,
    *,
    annotator: int | str | None = None,
    image_key: str | None = None,
    skip_missing_images: bool = False,
) -> None:
    """Registers an export under `name`. It is read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        metadata: more metadata of the data set. `thing_classes` and `predicate_classes` given here number the
            classes, and the file must have no others; with {}, classes are those of the file, sorted.
        json_file: see `load_label_studio`.
        image_root: see `load_label_studio`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        annotator: see `load_label_studio`.
        image_key: see `load_label_studio`.
        skip_missing_images: see `load_label_studio`.
    """
    given = {key: metadata.get(key) for key in ("thing_classes", "predicate_classes")}
    register_relation_dataset(
        name,
        load_label_studio,
        {
            "json_file": os.fspath(json_file),
            "image_root": os.fspath(image_root),
            "dataset_name": name,
            **{key: None if names is None else tuple(names) for key, names in given.items()},
            "annotator": annotator,
            "image_key": image_key,
            "skip_missing_images": skip_missing_images,
        },
        train_dataset=train_dataset,
        # The key is not `json_file`, which Detectron2 takes for a file in COCO format.
        annotation_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        **metadata,
    )


def _shown(value: Any) -> str:
    """A value for a message."""
    return short(repr(value))


def _named(task: Task) -> str:
    """The task, for messages."""
    return f"task {_shown(task.identity)}"


def _numbers(
    path: str, kind: str, found: Sequence[tuple[Task, str]], given: Sequence[str] | None
) -> dict[str, int]:
    """Name -> number of the classes of one kind.

    Args:
        path: the file.
        kind: "class" or "predicate".
        found: the names, with the tasks that have them. Those that the given names lack are refused.
        given: the names in the order of their numbers; None: those of the file, sorted.

    Raises:
        ValueError: the file has a name that the given names lack, see `reldn_d2.utils.refusals`.
    """
    if given is None:
        return {name: number for number, name in enumerate(sorted({name for _, name in found}))}
    numbers = {name: number for number, name in enumerate(given)}
    unknown = [(task, name) for task, name in found if name not in numbers]

    def record(k: int) -> Refusal:
        task, name = unknown[k]
        near = ", ".join(map(_shown, nearest_names(name, numbers)))
        similar = f"similar: {near}" if near else "no similar name"
        problem = f"the vocabulary has no {kind} {_shown(name)} ({similar})"
        return Refusal(_named(task), problem, "Correct the name, or add it to the vocabulary.")

    refuse(path, f"{kind} of no vocabulary", len(unknown), record)
    return numbers


@dataclass(frozen=True)
class _Picture:
    """A task with its picture, and width and height of the picture in pixels."""

    task: Task
    path: Path
    size: tuple[int, int]


@dataclass(frozen=True)
class _Match:
    """What an address may mean.

    Attributes:
        files: paths relative to the folder: one if the picture is found.
        parts: folders and name of the address.
        by_name: whether the file is in a folder that the address does not name.
    """

    files: list[str]
    parts: list[str]
    by_name: bool


class _Folder:
    """The pictures of a folder. Nothing outside is looked at."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir() and known_sizes() is None:
            raise FileNotFoundError(f"There is no image folder {root}: correct image_root (--image-root).")
        self.root = root

    def find(self, address: str) -> _Match:
        """The files that an address may mean."""
        paths = [parts for path in address_paths(address) if (parts := inner_parts(path))]
        bare = [[*parts[:-1], _UPLOADED.sub("", parts[-1], count=1)] for parts in paths]
        for searched in (paths, bare):
            for look in (self._there, self._below):
                for parts, place in zip(paths, searched, strict=True):
                    if files := look(place):
                        # The address names the file if it ends in the file's whole path.
                        whole = files[0].split("/")
                        named = len(whole) <= len(place) and _same_ends(whole, place)
                        return _Match(files, parts, not named)
        for parts, place in zip(paths, bare, strict=True):
            if parts != place and len(files := self._by_upload.get(_sanitised(place[-1]), [])) == 1:
                return _Match(files, parts, "/" in files[0])
        return _Match([], [], False)

    def _there(self, parts: Sequence[str]) -> list[str]:
        """The file at the longest end of a path."""
        for start, tail in _tails(parts):
            if not names_outside([tail]) and self._is_file(tail) and not self._contradicts(parts, start):
                return [tail]
        return []

    def _below(self, parts: Sequence[str]) -> list[str]:
        """The files in any folder that share the longest end with a path."""
        for start, tail in _tails(parts):
            if found := self._by_tail.get(_normal(tail)):
                return [] if self._contradicts(parts, start) else sorted(found)
        return []

    def _contradicts(self, parts: Sequence[str], start: int) -> bool:
        """Whether the folder before this end of a path is another one of the image folder."""
        before = parts[start - 1] if start else ""
        return bool(before) and before != self.root.resolve().name and (self.root / before).is_dir()

    def _is_file(self, name: str) -> bool:
        try:
            return (self.root / name).is_file()
        except OSError as error:
            # A text may stand where the address should be.
            if error.errno == errno.ENAMETOOLONG:
                return False
            raise

    @cached_property
    def _by_tail(self) -> dict[str, list[str]]:
        """Each end of the path of a file, in the normal form NFC -> the files."""
        found: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.root):
            inner = Path(os.path.relpath(folder, self.root)).as_posix()
            for name in names:
                path = name if inner == "." else f"{inner}/{name}"
                for _, tail in _tails(path.split("/")):
                    found.setdefault(_normal(tail), []).append(path)
        return found

    @cached_property
    def _by_upload(self) -> dict[str, list[str]]:
        """The name under which Label Studio keeps an uploaded file -> the files."""
        found: dict[str, list[str]] = {}
        for tail, paths in self._by_tail.items():
            if "/" not in tail:
                found.setdefault(_sanitised(tail), []).extend(paths)
        return found


def _tails(parts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The ends of a path that a system can hold, the longest first, and where they start."""
    start, length = len(parts), 0
    while start and length + len(parts[start - 1]) < _LONGEST_PATH:
        start -= 1
        length += len(parts[start]) + 1
    for first in range(start, len(parts)):
        yield first, "/".join(parts[first:])


def _normal(name: str) -> str:
    # macOS writes an accent as a character of its own.
    return unicodedata.normalize("NFC", name)


def _sanitised(name: str) -> str:
    """The name of an uploaded file: spaces are underscores, and special characters are left out."""
    return re.sub(r"[^-\w.]", "", _normal(name).strip().replace(" ", "_"))


def _find_pictures(
    path: str, tasks: Sequence[Task], root: Path, skip: bool, counts: Counts
) -> tuple[list[tuple[Task, Path]], list[Task]]:
    """The tasks with their pictures, without refused ones and those whose picture is missing.

    Within `without_pictures`, the second list has the latter, unless they are skipped. Else it is empty.
    """
    folder = _Folder(root)
    found: list[tuple[Task, Path]] = []
    missing: list[Task] = []
    found_by: dict[str, tuple[Task, _Match]] = {}
    for task in tasks:
        match, image = folder.find(task.image), _shown(task.image)
        if len(match.files) > 1:
            problem = f"the image {image} may be {' or '.join(match.files[:_NAMED])} in {root}"
            remedy = "Give the folder that the address begins in as image_root (--image-root)."
            refuse_one(path, "address of several pictures", _named(task), problem, remedy)
            continue
        if not match.files:
            missing.append(task)
            if skip or known_sizes() is None:
                counts.add("missing_images", task.identity)
            continue
        (file,) = match.files
        if names_outside([file]):
            problem = f"the name of the image {file!r} in {root} is read as a path elsewhere"
            remedy = "Rename it, and write the new name into the task."
            refuse_one(path, "name of a picture that is a path", _named(task), problem, remedy)
            continue
        other, earlier = found_by.setdefault(file, (task, match))
        if other is not task:
            if not _same_ends(match.parts, earlier.parts):
                problem = (
                    f"the image {image} and that of {_named(other)}, {_shown(other.image)}, are both "
                    f"found as {file} in {root}"
                )
                remedy = (
                    "Give the pictures names of their own, with folders or the digits of the upload, or "
                    "remove one of the tasks."
                )
                refuse_one(path, "picture of two addresses", _named(task), problem, remedy)
                continue
            counts.add("repeated_images", task.identity)
        if match.by_name:
            counts.add("images_by_name", task.identity)
        found.append((task, root / file))
    if skip and found:
        return found, []
    if known_sizes() is not None:
        return found, missing
    _refuse_missing(path, tasks, missing, root)
    return found, []


def _absent_pictures(path: str, tasks: Sequence[Task], root: Path) -> list[_Picture]:
    """The tasks of missing pictures, with the sizes that are given or that the file says.

    A task without regions needs no size.

    Raises:
        FileNotFoundError: a size is not known.
    """
    known = known_sizes()
    if known is None:
        return []
    sizes = [known.given.get(str(task.identity)) for task in tasks]
    known.used += sum(size is not None for size in sizes)
    pictures = []
    for task, given in zip(tasks, sizes, strict=True):
        size = given or task.size
        if size is None and task.entities:
            raise FileNotFoundError(
                f"{path}: {_named(task)}: there is neither its picture nor a known size: give a table of "
                "sizes (--image-sizes FILE.csv with image_id,width,height), or the picture"
            )
        pictures.append(_Picture(task, root / Path(task.image).name, size or NO_LIMIT))
    return pictures


def _refuse_missing(path: str, tasks: Sequence[Task], missing: Sequence[Task], root: Path) -> None:
    inside = any(task.image.startswith("data:") for task in missing)
    more = " A picture in the address itself (data:) must be saved as a file there." if inside else ""
    keys = dict.fromkeys(key for task in missing if len(task.keys) > 1 for key in task.keys)
    if keys:
        named = _shown([*keys])
        more += f" If another value is the image, name its key with image_key (--image-key): {named}."
    remedy = (
        "Give the folder of the pictures as image_root (--image-root), or leave these tasks out with "
        f"skip_missing_images (--skip-missing-images).{more}"
    )

    def record(k: int) -> Refusal:
        image, lost = _shown(missing[k].image), f"{len(missing)} of {len(tasks)} tasks"
        return Refusal(
            _named(missing[k]), f"the image {image} is not in {root}; this concerns {lost}", remedy
        )

    refuse(path, "missing picture", len(missing), record, FileNotFoundError)


def _same_ends(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one of two paths is the end of the other."""
    length = min(len(one), len(other))
    return [*map(_normal, one[-length:])] == [*map(_normal, other[-length:])]


def _of_right_shape(path: str, pictures: Sequence[_Picture]) -> list[_Picture]:
    """The pictures without refused ones, whose width and height have another ratio than the file says."""
    right, differing = [], []
    for picture in pictures:
        said = picture.task.size
        if said is None or same_shape(picture.size, said):
            right.append(picture)
        else:
            differing.append((picture, said))

    def record(k: int) -> Refusal:
        picture, said = differing[k]
        width, height = picture.size
        # Old browsers did not turn pictures as EXIF says, so their boxes belong to the picture on its side.
        swapped = "; the sides are exchanged, as by EXIF data" if same_shape((height, width), said) else ""
        problem = (
            f"{picture.path} has {width} x {height} pixels, and the file says {said[0]} x {said[1]}{swapped}"
            f"; this concerns {len(differing)} of {len(pictures)} tasks"
        )
        return Refusal(_named(picture.task), problem, "Give the pictures that were annotated.")

    refuse(path, "picture of another shape", len(differing), record)
    return right


def _dataset_dict(
    picture: _Picture, things: Mapping[str, int], predicates: Mapping[str, int], counts: Counts
) -> DatasetDict:
    """The dict of a task. Names that `things` or `predicates` lack are refused ones, which are left out."""
    task, (width, height) = picture.task, picture.size
    given = np.array([entity.corners(width, height) for entity in task.entities], np.float64).reshape(-1, 4)
    limits = np.array([width, height, width, height], np.float64)
    boxes = given.clip(min=0, max=limits)
    inside = np.asarray((boxes[:, :2] < boxes[:, 2:]).all(axis=1))
    clipped = inside & (np.abs(boxes - given) > _OUTSIDE).any(axis=1)
    for kind, found in (("boxes_without_area", ~inside), ("clipped_boxes", clipped)):
        counts.add(kind, task.identity, int(found.sum()))
    classes = np.array([things.get(entity.label, -1) for entity in task.entities], np.int64)
    kept = inside & (classes >= 0)
    number = kept.cumsum() - 1
    rows = []
    for relation in task.relations:
        if not (kept[relation.subject] and kept[relation.object]):
            counts.add("relations_to_left_out", task.identity)
        elif relation.label in predicates:
            rows.append((number[relation.subject], number[relation.object], predicates[relation.label]))
    dataset_dict: DatasetDict = {
        "file_name": os.fspath(picture.path),
        **({} if picture.size == NO_LIMIT else {"height": height, "width": width}),
        "image_id": task.identity,
        "annotations": Annotations(boxes[kept], classes[kept]),
        "relations": np.array(rows, np.int64).reshape(-1, 3),
    }
    mark_changed_boxes([dataset_dict], clipped[kept])
    return dataset_dict
