"""The training loader: Detectron2's batches, with any number of workers, from any batch on."""

import random
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import IterableDataset, Sampler

from reldn_d2.data import ResumableTrainLoader, build_resumable_train_loader

SIZES = [(40, 30), (30, 40), (30, 30), (50, 20), (20, 50), (31, 30), (30, 31)]


def dicts(count: int = 7) -> list[dict[str, Any]]:
    sizes = [SIZES[i % len(SIZES)] for i in range(count)]
    return [{"image_id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]


def draws(image: dict[str, Any]) -> dict[str, Any]:
    """A mapper that draws from all generators."""
    return {**image, "drawn": (random.random(), float(np.random.rand()), float(torch.rand(())))}


def loader(sampler: Sampler[int] | None = None, batch: int = 2, **options: Any) -> ResumableTrainLoader:
    arguments: dict[str, Any] = {"mapper": draws, "total_batch_size": batch, "seed": 5, **options}
    images = arguments.pop("dataset", None) or dicts()
    return build_resumable_train_loader(
        images, sampler=sampler or TrainingSampler(len(images), seed=1), **arguments
    )


def ids(batches: Iterator[list[dict[str, Any]]]) -> list[list[int]]:
    return [[x["image_id"] for x in batch] for batch in batches]


@given(
    st.integers(1, 9),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
    st.integers(0, 9),
)
def test_the_batches_are_those_of_detectron2(
    count: int, batch: int, grouping: bool, shuffle: bool, seed: int, first: int
) -> None:
    images = dicts(count)
    options: dict[str, Any] = {"total_batch_size": batch, "aspect_ratio_grouping": grouping}
    theirs = build_detection_train_loader(
        images, mapper=dict, sampler=TrainingSampler(count, shuffle=shuffle, seed=seed), **options
    )
    ours = build_resumable_train_loader(
        images, mapper=dict, sampler=TrainingSampler(count, shuffle=shuffle, seed=seed), **options
    )
    wanted = ids(islice(iter(theirs), first + 3))
    assert ids(islice(iter(ours), first + 3)) == wanted
    assert ours.batches == first + 3
    ours.load_state_dict({**ours.state_dict(), "batches": first})
    assert ids(islice(iter(ours), 3)) == wanted[first:]


SAMPLERS = {
    "all": lambda seed: TrainingSampler(7, seed=seed),
    "repeated": lambda seed: RepeatFactorTrainingSampler(torch.full((7,), 1.5), seed=seed),
    "subset": lambda seed: RandomSubsetTrainingSampler(7, 0.6, seed_shuffle=seed, seed_subset=seed),
}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("grouping", [False, True])
def test_another_process_goes_on_with_the_next_batch(kind: str, grouping: bool) -> None:
    before = loader(SAMPLERS[kind](3), aspect_ratio_grouping=grouping)
    batches = iter(before)
    taken = [*islice(batches, 9)]
    state = before.state_dict()
    wanted = [*islice(batches, 9)]
    # As after a kill: the sampler drew other seeds.
    after = loader(SAMPLERS[kind](4), aspect_ratio_grouping=grouping, seed=0)
    after.load_state_dict(state)
    assert after.state_dict() == state
    assert [*islice(iter(after), 9)] == wanted != taken
    assert after.batches == 18


def test_workers_change_nothing_and_are_not_asked_for_what_they_loaded_ahead() -> None:
    alone = [*islice(iter(loader()), 8)]
    several = loader(num_workers=2)
    assert [*islice(iter(several), 8)] == alone
    assert several.batches == 8
    drawn = [x["drawn"] for x in chain(*alone)]
    assert len({*drawn}) == len(drawn), "each sample has numbers of its own"


@pytest.mark.parametrize("workers", [0, 2])
def test_the_generators_of_the_training_are_left_alone(workers: int) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    next(iter(loader(num_workers=workers)))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def tensors(image: dict[str, Any]) -> dict[str, Any]:
    """A mapper that makes tensors of all kinds that are sent in different ways."""
    return {
        "image": torch.full((3, 200, 200), image["image_id"], dtype=torch.uint8),
        "boxes": torch.arange(8.0).reshape(4, 2).t(),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "sparse": torch.eye(2).to_sparse(),
        "none": torch.zeros(0, 3, dtype=torch.int64),
    }


def test_workers_share_pictures_and_send_small_tensors() -> None:
    (alone,), (sent,) = (next(iter(loader(mapper=tensors, batch=1, num_workers=n))) for n in (0, 1))
    assert sent.keys() == alone.keys()
    for key, tensor in sent.items():
        assert tensor.dtype == alone[key].dtype and tensor.layout == alone[key].layout
        assert torch.equal(tensor.to_dense(), alone[key].to_dense())
    assert sent["image"].is_shared()
    assert not sent["boxes"].is_shared() and not sent["none"].is_shared()
    sent["boxes"] += 1  # it may be written to


@pytest.mark.parametrize("batch, workers, ahead", [(8, 2, 4), (9, 2, 5), (1, 4, 2)])
def test_workers_load_a_batch_ahead(batch: int, workers: int, ahead: int) -> None:
    assert loader(batch=batch, num_workers=workers).options["prefetch_factor"] == ahead
    given = loader(batch=batch, num_workers=workers, prefetch_factor=3)
    assert given.options["prefetch_factor"] == 3


def test_no_past_image_is_opened() -> None:
    opened: list[int] = []

    def mapper(image: dict[str, Any]) -> dict[str, Any]:
        opened.append(image["image_id"])
        return image

    images = loader(mapper=mapper)
    images.load_state_dict({**images.state_dict(), "batches": 100_000})
    next(iter(images))
    assert len(opened) == 2


def test_processes_share_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*chain(*islice(iter(loader(batch=1, aspect_ratio_grouping=False)), 14))]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append([*chain(*islice(iter(loader(batch=2, aspect_ratio_grouping=False)), 7))])
    # Also the random numbers of a sample: its position in the training of all processes counts.
    assert [x for pair in zip(*parts, strict=True) for x in pair] == whole


def test_a_new_order_follows_from_its_seed() -> None:
    first, again, other = loader(), loader(), loader()
    for images, seed in ((first, 8), (again, 8), (other, 9)):
        next(iter(images))
        images.start_anew(seed)
        assert images.batches == 0
    wanted = [*islice(iter(first), 7)]
    assert [*islice(iter(again), 7)] == wanted
    assert ids(islice(iter(other), 7)) != ids(iter(wanted)) != ids(islice(iter(loader()), 7))


def test_for_an_image_that_the_mapper_refuses_another_one_is_drawn(caplog: pytest.LogCaptureFixture) -> None:
    def mapper(image: dict[str, Any]) -> dict[str, Any] | None:
        return image if image["image_id"] in (2, 5) else None

    first, second = (ids(islice(iter(loader(mapper=mapper)), 20)) for _ in range(2))
    assert first == second and {i for batch in first for i in batch} == {2, 5}
    assert "The mapper returned None for 3 images" in caplog.text


def test_a_mapper_that_refuses_all_images_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"returned None for all 7 images, such as .*there is nothing to train"
    ):
        next(iter(loader(mapper=lambda _: None)))


def test_unknown_sizes_are_read_from_the_files(tmp_path: Path) -> None:
    images = dicts()
    for image in images:
        image["file_name"] = str(tmp_path / f"{image['image_id']}.png")
        Image.new("RGB", (image.pop("width"), image.pop("height"))).save(image["file_name"])
    assert ids(islice(iter(loader(dataset=images)), 9)) == ids(islice(iter(loader()), 9))


def test_sizes_may_be_numbers_of_numpy() -> None:
    images = dicts()
    for image in images:
        image["width"], image["height"] = np.int64(image["width"]), np.int64(image["height"])
    assert ids(islice(iter(loader(dataset=images)), 9)) == ids(islice(iter(loader()), 9))


def test_a_dataset_of_pytorch_and_a_collate_function() -> None:
    images = loader(dataset=DatasetFromList(dicts()), collate_fn=len, mapper=None, batch=3)
    assert [*islice(iter(images), 2)] == [3, 3]


def test_a_sampler_that_ends_drops_the_last_images() -> None:
    class Once(Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            return iter([0, 0, 3])

    assert ids(iter(loader(Once()))) == [[0, 0]]


def test_what_cannot_be_continued_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(TypeError, match=r"Stream can only be iterated.*build_detection_train_loader"):
        build_resumable_train_loader(Stream(), mapper=None, total_batch_size=1)
    with pytest.raises(ValueError, match="drop_last=False"):
        loader(drop_last=False)
    with pytest.raises(ValueError, match="either total_batch_size or single_gpu_batch_size"):
        loader(single_gpu_batch_size=2)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    assert loader(total_batch_size=None, single_gpu_batch_size=3, seed=None).batch_size == 3
    with pytest.raises(ValueError, match="3 images can't be divided among 2 processes"):
        loader(batch=3)
