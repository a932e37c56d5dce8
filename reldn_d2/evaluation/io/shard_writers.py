"""Writers of folders with many annotation or prediction files, for evaluations that don't fit into memory.

The files are called part-000000.npz, part-000001.npz and so on. Images come in the rising order of their ids
as text, over all files. The folder appears when all files are complete: until then they lie in a folder
beside it, FOLDER.unfinished.
"""

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from reldn_d2.structures.vocabulary import Vocabulary

from ..graphs import GroundTruthGraph, PredictedGraph, parse_task
from .annotations import AnnotatedSet, save_annotations
from .predictions import save_predictions

#: Usual number of images of a file.
SHARD_SIZE = 2_000
_UNFINISHED = ".unfinished"

_Item = TypeVar("_Item")


class _ShardWriter(ABC, Generic[_Item]):
    """Collects images, and writes a file whenever there are enough of them.

    Attributes:
        count: number of images so far.
    """

    def __init__(self, folder: str | os.PathLike[str], shard_size: int) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be 1 or more, not {shard_size}")
        self._folder, self._size = Path(folder), shard_size
        self._unfinished = self._folder.with_name(f"{self._folder.name}{_UNFINISHED}")
        self._waiting: dict[str, _Item] = {}
        self._last: str | None = None
        self._files = self.count = 0

    @abstractmethod
    def _write(self, path: Path, items: dict[str, _Item]) -> None:
        """Writes a file of some images."""

    def __enter__(self) -> Self:
        """Makes the folder of unfinished files. What a killed writer left there is deleted.

        Raises:
            ValueError: the folder has files already, or it or the one beside it is a link.
        """
        for folder in (self._folder, self._unfinished):
            if folder.is_symlink():
                raise ValueError(f"{folder} is a link, and files are replaced there: delete the link")
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise ValueError(f"{self._folder} is there already: delete it, or choose another folder")
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        self._unfinished.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Writes what is waiting and gives the folder its name; after an error, deletes all files."""
        try:
            if error is None:
                self._flush()
                os.replace(self._unfinished, self._folder)
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def _add(self, image_id: str, item: _Item) -> None:
        if not isinstance(image_id, str):
            raise ValueError(f"image {image_id!r}: the ids of images are texts; give str(id)")
        if self._last is not None and image_id <= self._last:
            problem = "was given twice" if image_id == self._last else f"comes after image {self._last}"
            raise ValueError(
                f"image {image_id} {problem}: give every image once, in the rising order of the ids as text"
            )
        self._waiting[image_id], self._last = item, image_id
        self.count += 1
        if len(self._waiting) == self._size:
            self._flush()

    def _flush(self) -> None:
        if self._waiting or not self._files:
            self._write(self._unfinished / f"part-{self._files:06}.npz", self._waiting)
            self._files += 1
        self._waiting = {}


class AnnotationShardWriter(_ShardWriter[tuple[GroundTruthGraph, tuple[int, int]]]):
    """Writes a folder of annotation files, in bounded memory.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from reldn_d2.evaluation import AnnotatedSet, AnnotationShardWriter, GroundTruthGraph
        >>> from reldn_d2.structures import Vocabulary
        >>> boxes, classes = np.array([[0.0, 0, 50, 90], [40, 30, 50, 40]]), np.array([0, 1])
        >>> truth = GroundTruthGraph(boxes, classes, relations=np.array([[0, 1, 0]]))
        >>> about = AnnotatedSet("people", Vocabulary(["person", "cup"], ["holds"]))
        >>> folder = tempfile.mkdtemp()
        >>> with AnnotationShardWriter(f"{folder}/annotations", about, shard_size=2) as writer:
        ...     for image_id in ("10", "7", "8"):  # rising as text
        ...         writer.add(image_id, truth, size=(100, 80))
        >>> import os
        >>> sorted(os.listdir(f"{folder}/annotations"))
        ['part-000000.npz', 'part-000001.npz']
    """

    def __init__(
        self, folder: str | os.PathLike[str], about: AnnotatedSet, *, shard_size: int = SHARD_SIZE
    ) -> None:
        """Makes a writer; `with` opens and closes it.

        Args:
            folder: folder to write. It must not be there, or be empty.
            about: name and vocabulary of the data set.
            shard_size: number of images of a file.
        """
        super().__init__(folder, shard_size)
        self._about = about

    def add(self, image_id: str, truth: GroundTruthGraph, size: tuple[int, int] = (0, 0)) -> None:
        """Take the annotation of the next image.

        Args:
            image_id: id of the image, above the one before it as text.
            truth: its annotation.
            size: height and width of the image in pixels; 0: not known.

        Raises:
            ValueError: the ids don't rise, or see `save_annotations`.
            OSError: a file can't be written.
        """
        self._add(image_id, (truth, size))

    def _write(self, path: Path, items: dict[str, tuple[GroundTruthGraph, tuple[int, int]]]) -> None:
        truths = {image_id: truth for image_id, (truth, _) in items.items()}
        sizes = {image_id: size for image_id, (_, size) in items.items()}
        save_annotations(path, truths, self._about, sizes)


class PredictionShardWriter(_ShardWriter[PredictedGraph]):
    """Writes a folder of prediction files, in bounded memory. It is used as `AnnotationShardWriter` is."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        dataset_name: str,
        task: str,
        vocabulary: Vocabulary,
        *,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        """Makes a writer; `with` opens and closes it.

        Args:
            folder: folder to write. It must not be there, or be empty.
            dataset_name: name of the data set.
            task: "sgdet", "sgcls" or "prdcls", in lower or upper case.
            vocabulary: names of the classes and predicates.
            shard_size: number of images of a file.

        Raises:
            ValueError: the task is unknown.
        """
        super().__init__(folder, shard_size)
        self._dataset_name, self._task, self._vocabulary = dataset_name, parse_task(task), vocabulary

    def add(self, image_id: str, predicted: PredictedGraph) -> None:
        """Take the prediction for the next image.

        Args:
            image_id: id of the image, above the one before it as text.
            predicted: its prediction.

        Raises:
            ValueError: the ids don't rise.
            OSError: a file can't be written.
        """
        self._add(image_id, predicted)

    def _write(self, path: Path, items: dict[str, PredictedGraph]) -> None:
        save_predictions(
            path,
            items,
            dataset_name=self._dataset_name,
            task=self._task,
            num_predicates=len(self._vocabulary.predicate_classes),
            vocabulary=self._vocabulary,
        )
