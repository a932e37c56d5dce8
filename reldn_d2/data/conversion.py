"""Converting a data set of any layout to COCO-relations files."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.inner_paths import inner_path
from reldn_d2.utils.io import atomic_write, digest, file_digest
from reldn_d2.utils.plain_text import visible

from . import datasets
from .datasets.coco_relations import save_coco_relations

logger = logging.getLogger(__name__)

# Version of the written files. Raise it when the same sources give another file.
_VERSION = 1
# Ending of the record beside a file.
_ORIGIN = ".origin.json"


@dataclass(frozen=True)
class Conversion:
    """One file to write.

    Attributes:
        name: name of the file, without its ending.
        register: function that registers the data set to convert under a given name.
        sources: annotation files that the result depends on. They may be missing, which is recorded too.
        image_root: folder that the file names of images are written relative to.
        train: for a test split, the name of the conversion of its training split.
    """

    name: str
    register: Callable[[str], None]
    sources: Sequence[Path]
    image_root: Path
    train: str | None = None


def digests_of_sources(conversions: Sequence[Conversion]) -> dict[Path, str]:
    """Digests of the contents of all source files that exist. Each file is read once."""
    sources = {path for conversion in conversions for path in conversion.sources if path.is_file()}
    return {path: file_digest(path) for path in sources}


def convert(conversion: Conversion, output: Path, digests: Mapping[Path, str], force: bool = False) -> str:
    """Write `output/NAME.json`, unless it exists unchanged and was made from the same sources.

    `NAME.origin.json` beside it records the sources, what the loader said of them, and the file itself:
    somebody may have corrected it, so a file that has changed or that no record names is replaced only with
    `force`. For pictures, only the names are compared: use `force` after you replace pictures by pictures of
    another size.

    Args:
        conversion: what to convert.
        output: folder to write to.
        digests: the result of `digests_of_sources`.
        force: write the file in any case.

    Returns:
        A message with the result, the counts, and the line that registers the file.

    Raises:
        OSError, ValueError: the loader or the writer fails, or the file would overwrite a source, a record
            or, without `force`, a file that was not written so.
    """
    path = inner_path(output, f"{conversion.name}.json", "the file to write")
    if path.resolve() in [source.resolve() for source in conversion.sources]:
        raise ValueError(f"{path} is itself a file to convert. Choose another folder or name to write to.")
    if path.name.endswith(_ORIGIN):
        raise ValueError(f"{path} has the name of a record of a conversion. Choose another name to write to.")
    origin = output / f"{conversion.name}{_ORIGIN}"
    name = f"{conversion.name}, to be converted"
    conversion.register(name)
    try:
        metadata = MetadataCatalog.get(name)
        options = json.dumps(metadata.loaded_by, sort_keys=True, default=str)
        contents = [f"{file.name} {digests.get(file)}" for file in conversion.sources]
        root = conversion.image_root
        made_from = digest([str(_VERSION), str(root.resolve()), options, *contents, *_picture_names(root)])
        known = _read_origin(origin)
        if path.is_file() and not force:
            _check_unchanged(path, known)
            if known["made_from"] == made_from:
                for line in known.get("said", []):
                    logger.info("%s", visible(line))
                return f"{path} is up to date: {known['counts']}\n{_registration(conversion, path)}"
        with _heard() as said:
            dataset_dicts = DatasetCatalog.get(name)
        with _being_written(origin, known):
            save_coco_relations(dataset_dicts, metadata, path, conversion.image_root)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    counts = _counts(dataset_dicts)
    _write_origin(
        origin, {"made_from": made_from, "sha256": file_digest(path), "counts": counts, "said": said}
    )
    return f"{path} was written: {counts}\n{_registration(conversion, path)}"


def _picture_names(root: Path) -> list[str]:
    """Relative paths of all pictures in a folder and below it, sorted. Loaders may depend on them."""
    endings = Image.registered_extensions().keys()
    return sorted(
        os.path.join(os.path.relpath(folder, root), name)
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
        if os.path.splitext(name)[1].lower() in endings
    )


def _check_unchanged(path: Path, known: Mapping[str, Any]) -> None:
    """Refuses a file that this module did not write, or that has changed since."""
    if not known:
        problem = "no record says that this command wrote it"
    elif known["sha256"] not in ("", file_digest(path)):
        problem = "it has been changed since this command wrote it"
    else:
        return
    raise ValueError(
        f"{path} is there, and {problem}: choose another folder or name, or add --force, which replaces it"
    )


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What loaders say in the block, such as what they left out. It is as true if the file is up to date."""
    lines: list[str] = []
    handler = _Lines(lines)
    loaders = logging.getLogger(datasets.__name__)
    loaders.addHandler(handler)
    try:
        yield lines
    finally:
        loaders.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


@contextmanager
def _being_written(origin: Path, known: Mapping[str, Any]) -> Iterator[None]:
    """Records that the file is written in the block: after a kill, nobody can tell which one is there."""
    _write_origin(origin, {"made_from": "", "sha256": "", "counts": ""})
    try:
        yield
    except BaseException:
        if known:
            _write_origin(origin, known)
        else:
            origin.unlink()
        raise


def _write_origin(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as stream:
        stream.write(json.dumps(content, indent=2).encode())


def _read_origin(path: Path) -> dict[str, Any]:
    """The record of an earlier conversion; empty if there was none or the file is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return (
        content if isinstance(content, dict) and {"made_from", "sha256", "counts"} <= content.keys() else {}
    )


def _counts(dataset_dicts: Sequence[DatasetDict]) -> str:
    empty = sum(len(dataset_dict["relations"]) == 0 for dataset_dict in dataset_dicts)
    entities = sum(len(dataset_dict["annotations"]) for dataset_dict in dataset_dicts)
    relations = sum(len(dataset_dict["relations"]) for dataset_dict in dataset_dicts)
    images = f"{len(dataset_dicts):,} images ({empty:,} without relationships)"
    return f"{images}, {entities:,} entities, {relations:,} relationships"


def _registration(conversion: Conversion, path: Path) -> str:
    quoted = partial(json.dumps, ensure_ascii=False)
    train = "" if conversion.train is None else f", train_dataset={quoted(f'{conversion.train}_coco')}"
    files = f"{quoted(str(path.resolve()))}, {quoted(str(conversion.image_root.resolve()))}"
    return f"    register_coco_relations({quoted(f'{conversion.name}_coco')}, {{}}, {files}{train})"
