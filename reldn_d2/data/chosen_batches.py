"""The batches of a test loader: which images they hold, a loader of some of them, unreadable pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.data import MapDataset
from torch.utils.data import DataLoader, Dataset, IterableDataset

from reldn_d2.structures.dataset_dicts import DatasetDict

from .images import check_size, read_image
from .pixels import UnusablePictureError

#: Positions of the images of a batch in the data set.
Positions = tuple[int, ...]


@dataclass(frozen=True)
class UnreadableImage:
    """An image whose picture can't be read, or has another size than its dataset dict says.

    Attributes:
        position: position of the image in the data set.
        image_id: its `image_id`.
        file_name: file of the picture.
        reason: what is wrong, with the name of the file.
    """

    position: int
    image_id: int | str
    file_name: str
    reason: str


class UnreadableImageError(ValueError):
    """An image of a batch is unreadable.

    Attributes:
        image: the image.
    """

    def __init__(self, image: UnreadableImage) -> None:
        super().__init__(image.reason)
        self.image = image


@dataclass(frozen=True)
class ListedBatches:
    """The batches of Detectron2's test loader in this process. No picture is read to list them.

    Attributes:
        loader: the loader.
        batches: positions of the images of each batch, in the loader's order.
        dataset_dicts: the whole data set.
    """

    loader: "DataLoader[Any]"
    batches: list[Positions]
    dataset_dicts: Sequence[DatasetDict]

    @classmethod
    def of(cls, loader: Any) -> "ListedBatches | None":
        """Lists the batches of a loader.

        Returns:
            None if the images of a batch can't be known before they are loaded: the loader is not the one
            that Detectron2's `build_detection_test_loader` makes of a list of dataset dicts.
        """
        if type(loader) is not DataLoader or loader.batch_sampler is None:
            return None
        dataset = loader.dataset
        if not isinstance(dataset, MapDataset) or isinstance(dataset._dataset, IterableDataset):
            return None
        batches = [tuple(map(int, batch)) for batch in loader.batch_sampler]
        return cls(loader, batches, dataset._dataset)


class ChosenBatches:
    """A loader of some batches of another loader.

    Attributes:
        current: positions of the images of the batch that was yielded last.
        complete: whether all of them are in the batch.
        unreadable: images that were left out of the batches so far.
    """

    def __init__(self, listed: ListedBatches, chosen: Sequence[Positions], *, skip_unreadable: bool) -> None:
        """Makes a loader.

        Args:
            listed: the batches of the other loader.
            chosen: some of them.
            skip_unreadable: leave unreadable images out of the batches; otherwise they are errors.
        """
        self._listed, self._chosen, self._skip = listed, chosen, skip_unreadable
        self.current: Positions = ()
        self.complete = True
        self.unreadable: list[UnreadableImage] = []

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches in the given order. A batch without any readable image is not yielded.

        Raises:
            UnreadableImageError: an image is unreadable, and such images are errors.
        """
        given = self._listed.loader
        loader: DataLoader[Any] = DataLoader(
            _CheckedPictures(given.dataset, self._listed.dataset_dicts),
            batch_sampler=[[*positions] for positions in self._chosen],
            collate_fn=_ApartFromUnreadable(given.collate_fn),
            **{name: getattr(given, name) for name in _KEPT_OPTIONS},
        )
        for positions, (unreadable, batch) in zip(self._chosen, loader, strict=True):
            if unreadable and not self._skip:
                raise UnreadableImageError(unreadable[0])
            self.unreadable += unreadable
            self.current, self.complete = positions, not unreadable
            if batch is not None:
                yield batch


_KEPT_OPTIONS = (
    *("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator"),
    *("prefetch_factor", "persistent_workers"),
)


class _CheckedPictures(Dataset[Any]):
    """A data set that returns an `UnreadableImage` where its mapper fails because of the picture.

    An exception would reach the main process from a worker process as text.
    """

    def __init__(self, dataset: Any, dataset_dicts: Sequence[DatasetDict]) -> None:
        self._dataset, self._dataset_dicts = dataset, dataset_dicts

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Any:
        try:
            return self._dataset[position]
        except Exception as error:
            given = self._dataset_dicts[position]
            # A mapper can fail in the same way for another reason.
            reason = _fault_of_picture(given, error)
            if reason is None:
                raise
            return UnreadableImage(position, given["image_id"], given["file_name"], reason)


def _fault_of_picture(given: DatasetDict, error: Exception) -> str | None:
    """Why the picture of a dataset dict can't be used, or that its size is wrong; None if all is well.

    Args:
        given: the dataset dict.
        error: the error of its mapper.
    """
    if "file_name" not in given or "image_id" not in given:
        return None
    try:
        if isinstance(error, UnusablePictureError):
            raise error
        check_size(given, read_image(given["file_name"], "BGR"))
    except (OSError, ValueError) as fault:
        return " ".join(str(fault).split())
    return None


class _ApartFromUnreadable:
    """Joins the readable images of a batch, and lists the others."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, batch: list[Any]) -> tuple[list[UnreadableImage], Any]:
        readable = [x for x in batch if not isinstance(x, UnreadableImage)]
        unreadable = [x for x in batch if isinstance(x, UnreadableImage)]
        return unreadable, self._collate(readable) if readable else None
