"""The loader of training batches. A resumed training goes on with the batch that would have come next.

Which images a batch has follows from the sampler's seed and the number of the batch. The random numbers of an
augmentation follow from a seed and the position of the image in the whole training. So a few numbers are all
that a checkpoint needs, and neither worker processes nor what they have loaded ahead change anything.
"""

import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain, islice
from math import ceil
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.data.samplers import RandomSubsetTrainingSampler, TrainingSampler
from detectron2.utils import comm
from detectron2.utils.serialize import PicklableWrapper
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from reldn_d2.structures.dataset_dicts import DatasetDict, describe
from reldn_d2.utils.random_numbers import mixed_seed, seeded_generators

from .images import upright_size

logger = logging.getLogger(__name__)

Mapper = Callable[[DatasetDict], dict[str, Any] | None]
# A sample of the training: its position in the training of all processes, and the index of its image.
_Sample = tuple[int, int]
# Detectron2's samplers have their seeds in these attributes.
_SEEDS = ("_seed", "_seed_subset")
_TRIES_BEFORE_WARNING = 3
# Tensors of workers that are sent by value, see `_Message`.
_SENT_TYPES = (torch.float32, torch.float64, torch.int64, torch.bool)
_MOST_BYTES_SENT = 32_768


class ResumableTrainLoader:
    """Endless batches of mapped images, as Detectron2's training loader makes them, that can be continued.

    `state_dict` says how many batches the training has taken. A loader that loads it begins with the next
    one. No image before that is opened, and `num_workers` may be another.

    The batches are the same in each training if the sampler's order follows from its `_seed`, as that of
    Detectron2's samplers does, and if the mapper draws its random numbers from the generators of Python,
    NumPy and PyTorch.

    Attributes:
        sampler: indices of the images.
        batch_size: number of images in a batch of this process.
        groups_by_aspect_ratio: whether the images of a batch are all wider than high, or all not.
        options: arguments of PyTorch's DataLoader.
        seed: seed of the random numbers of the mapper.
        batches: number of batches that were taken since the beginning of the training.
    """

    def __init__(
        self,
        dataset: Sequence[DatasetDict] | Dataset[DatasetDict],
        *,
        mapper: Mapper | None,
        sampler: Sampler[int],
        batch_size: int,
        aspect_ratio_grouping: bool = True,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Creates a loader that begins with the first batch.

        Args:
            dataset: the images. They are loaded by index.
            mapper: makes the model's input from a dataset dict. If it returns None, another image is drawn.
                None: the dataset has the model's input already.
            sampler: indices of the images, without end.
            batch_size: number of images in a batch of this process.
            aspect_ratio_grouping: whether the images of a batch are all wider than high, or all not. It needs
                dataset dicts with "width" and "height"; of others, the size is read from the file.
            num_workers: number of processes that load images; 0 loads them in this process.
            collate_fn: makes a batch from a list of inputs. None: the list is the batch.
            seed: a number of 0 or more.
            options: further arguments of PyTorch's DataLoader.
        """
        self._dataset, self._mapper, self.sampler = dataset, mapper, sampler
        self.batch_size, self.groups_by_aspect_ratio = batch_size, aspect_ratio_grouping
        self._wide: dict[int, bool] = {}
        if isinstance(dataset, list):
            # Before Detectron2 packs the dicts into one array that all workers share.
            sizes = enumerate(dataset if aspect_ratio_grouping else [])
            self._wide = {i: x["width"] > x["height"] for i, x in sizes if "width" in x and "height" in x}
            self._dataset = DatasetFromList(dataset, copy=False)
        self._collate = collate_fn
        self.options = {"num_workers": num_workers, **options}
        if num_workers:
            # While the training makes a step, as many images are loaded as a batch has.
            self.options.setdefault("prefetch_factor", max(2, ceil(batch_size / num_workers)))
        self.seed, self.batches, self._first = seed, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """How many batches were taken, and the seeds."""
        seeds = {name: getattr(self.sampler, name) for name in _SEEDS if hasattr(self.sampler, name)}
        return {"batches": self.batches, "seed": self.seed, "sampler": seeds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to the batch behind those that were taken. For iterators that are made afterwards."""
        self.batches = self._first = state["batches"]
        self.seed = state["seed"]
        self._set_sampler_seeds(state["sampler"])

    def start_anew(self, seed: int) -> None:
        """Begins at the first batch of another order.

        Args:
            seed: a number of 0 or more. The same in all processes.
        """
        self.load_state_dict({"batches": 0, "seed": seed, "sampler": {"_seed": mixed_seed(seed) % 2**62}})

    def __iter__(self) -> Iterator[Any]:
        """Yields batches, beginning with the first one or behind those of a loaded state."""
        self.batches = self._first
        images = _SeededImages(self._dataset, self._mapper, self.seed)
        samples = chain.from_iterable(islice(self._batches(), self._first, None))
        loader = iter(
            DataLoader(
                images,
                sampler=_Iterable(samples),
                batch_size=None,
                collate_fn=_Message if self.options["num_workers"] else _unchanged,
                # Otherwise PyTorch draws a number from the generator of the training.
                generator=torch.Generator(),
                **self.options,
            )
        )
        while len(batch := list(islice(loader, self.batch_size))) == self.batch_size:
            self.batches += 1
            yield batch if self._collate is None else self._collate(batch)

    def _batches(self) -> Iterator[list[_Sample]]:
        """The samples of each batch of this process, from the beginning. Opens no image."""
        rank, processes = comm.get_rank(), comm.get_world_size()
        groups: tuple[list[_Sample], list[_Sample]] = ([], [])
        for count, index in enumerate(self.sampler):
            group = groups[self.groups_by_aspect_ratio and self._is_wide(index)]
            group.append((count * processes + rank, index))
            if len(group) == self.batch_size:
                yield [*group]
                group.clear()

    def _is_wide(self, index: int) -> bool:
        if index not in self._wide:
            image = self._dataset[index]
            known = "width" in image and "height" in image
            width, height = (image["width"], image["height"]) if known else upright_size(image["file_name"])
            self._wide[index] = width > height
        return bool(self._wide[index])  # one of NumPy is no index

    def _set_sampler_seeds(self, seeds: Mapping[str, int]) -> None:
        sampler: Any = self.sampler
        for name, value in seeds.items():
            if hasattr(sampler, name):
                setattr(sampler, name, value)
        if isinstance(sampler, RandomSubsetTrainingSampler) and "_seed_subset" in seeds:
            drawn = torch.randperm(
                sampler._size, generator=torch.Generator().manual_seed(sampler._seed_subset)
            )
            sampler._indexes_subset = drawn[: sampler._size_subset]


class _SeededImages(Dataset[Any]):
    """Maps images with random numbers that follow from the position of each sample."""

    def __init__(self, dataset: Any, mapper: Mapper | None, seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        self._mapper = None if mapper is None else PicklableWrapper(mapper)

    def __getitem__(self, sample: _Sample) -> Any:
        position, index = sample
        if self._mapper is None:
            return self._dataset[index]
        with seeded_generators(mixed_seed(self._seed, position)):
            mapped = self._mapper(self._dataset[index])
            if mapped is None:
                mapped = self._other_image(random.Random(mixed_seed(self._seed, position)), index)
            return mapped

    def _other_image(self, generator: random.Random, index: int) -> Any:
        """Another image, for one that the mapper refuses."""
        assert self._mapper is not None
        others = [i for i in range(len(self._dataset)) if i != index]
        generator.shuffle(others)
        for tries, other in enumerate(others, start=2):
            mapped = self._mapper(self._dataset[other])
            if mapped is not None:
                return mapped
            if tries == _TRIES_BEFORE_WARNING:
                logger.warning("The mapper returned None for %d images, such as image %d", tries, index)
        raise ValueError(
            f"the mapper {self._mapper} returned None for all {len(self._dataset)} images, such as "
            f"{describe(self._dataset[index])}: there is nothing to train on"
        )


class _Iterable(Sampler[_Sample]):
    """An iterable in the form that PyTorch's DataLoader takes."""

    def __init__(self, samples: Iterable[_Sample]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[_Sample]:
        return iter(self._samples)


def _unchanged(sample: Any) -> Any:
    return sample


class _Message:
    """A sample of a worker, which the training gets as it was.

    PyTorch would put each tensor into a shared file of its own. To hand over such a file, both processes talk
    to each other, which takes longer than to send the few numbers of boxes and classes.
    """

    def __init__(self, sample: Any) -> None:
        self._sample = sample

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        stream = BytesIO()
        _SmallTensorsByValue(stream, pickle.HIGHEST_PROTOCOL).dump(self._sample)
        return pickle.loads, (stream.getvalue(),)


class _SmallTensorsByValue(ForkingPickler):
    """Pickles tensors of few numbers as arrays, all others as PyTorch sends them between processes."""

    def reducer_override(self, item: Any) -> Any:
        by_value = (
            type(item) is Tensor
            and item.device.type == "cpu"
            and item.layout is torch.strided
            and item.dtype in _SENT_TYPES
            and item.nbytes <= _MOST_BYTES_SENT
            and not item.requires_grad
        )
        return (torch.from_numpy, (item.numpy(),)) if by_value else NotImplemented


@configurable(from_config=build_detection_train_loader.from_config)
def build_resumable_train_loader(
    dataset: list[DatasetDict] | Dataset[DatasetDict],
    *,
    mapper: Mapper | None,
    sampler: Sampler[int] | None = None,
    total_batch_size: int | None,
    single_gpu_batch_size: int | None = None,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    seed: int | None = None,
    **options: Any,
) -> ResumableTrainLoader:
    """Builds the training loader that a resumed training continues exactly.

    It takes the place of Detectron2's `build_detection_train_loader`, with the same arguments:

        @classmethod
        def build_train_loader(cls, cfg):
            return build_resumable_train_loader(cfg, mapper=MyMapper(cfg, is_train=True))

    Args:
        dataset: dataset dicts, or a dataset of PyTorch that loads them by index.
        mapper: see `ResumableTrainLoader`.
        sampler: see `ResumableTrainLoader`; None: Detectron2's TrainingSampler.
        total_batch_size: number of images in a batch, over all processes.
        single_gpu_batch_size: the number in each process, instead of `total_batch_size`.
        drop_last: only True is possible: a training has no last batch.
        seed: see `ResumableTrainLoader`; None: 0. A trainer of this package sets that of the run.
        aspect_ratio_grouping, num_workers, collate_fn, options: see `ResumableTrainLoader`.

    Raises:
        TypeError: the dataset can only be iterated. Such data can't be continued.
        ValueError: the batch can't be divided among the processes, its size is given twice or not at all, or
            `drop_last` is False.
    """
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"{type(dataset).__name__} can only be iterated, so a training on it can't be continued exactly: "
            "build its loader with Detectron2's build_detection_train_loader"
        )
    if not drop_last:
        raise ValueError("drop_last=False: a training has no last batch that could be kept")
    processes = comm.get_world_size()
    if bool(total_batch_size) == bool(single_gpu_batch_size):
        raise ValueError("give either total_batch_size or single_gpu_batch_size")
    if total_batch_size is None or single_gpu_batch_size:
        total_batch_size = (single_gpu_batch_size or 0) * processes
    if total_batch_size <= 0 or total_batch_size % processes:
        raise ValueError(
            f"a batch of {total_batch_size} images can't be divided among {processes} processes: choose a "
            "multiple of their number"
        )
    images: Any = dataset
    return ResumableTrainLoader(
        dataset,
        mapper=mapper,
        sampler=TrainingSampler(len(images)) if sampler is None else sampler,
        batch_size=total_batch_size // processes,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        seed=seed or 0,
        **options,
    )
