"""DATALOADER.SAMPLER_TRAIN that draws rare predicates more often."""

import copy
import json
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from reldn_d2.engine import Trainer, load_config
from tests.builders.processes import run_in_processes
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig

COMMON, RARE = 0, 1
# RARE is in one of eight images: its factor is 0.5 / (1 / 8) = 4, and an epoch has 7 + 4 images.
OPTIONS = [
    *("DATALOADER.SAMPLER_TRAIN", "RelDNPredicateRepeatFactorTrainingSampler"),
    *("DATALOADER.REPEAT_THRESHOLD", "0.5"),
    *("DATALOADER.REPEAT_SQRT", "False"),
    *("DATALOADER.ASPECT_RATIO_GROUPING", "False"),
    *("DATALOADER.NUM_WORKERS", "0"),
]
RARE_IMAGE, EPOCH = 3, 11


def images() -> list[dict[str, Any]]:
    """Eight scenes with one relationship each, number RARE_IMAGE with the rare predicate."""
    found = copy.deepcopy(DatasetCatalog.get("reldn_scenes_tiny_train")[:8])
    for i, one in enumerate(found):
        one["image_id"] = i
        one["relations"] = np.array([[0, 1, RARE if i == RARE_IMAGE else COMMON]])
    return found


def drawn(cfg: CfgNode, count: int, given: list[dict[str, Any]] | None = None) -> list[int]:
    """Positions of the first images that a process draws."""
    loader = Trainer.build_train_loader(cfg, images() if given is None else given)
    return list(islice(loader.sampler, count))


def test_the_loader_gives_an_image_as_often_as_its_rarest_predicate_asks(tiny_config: TinyConfig) -> None:
    cfg = tiny_config(*OPTIONS, "SOLVER.IMS_PER_BATCH", "1")
    batches = islice(Trainer.build_train_loader(cfg, images()), 2 * EPOCH)
    found = [one["image_id"] for one in chain.from_iterable(batches)]
    for epoch in (found[:EPOCH], found[EPOCH:]):
        assert Counter(epoch) == {i: 4 if i == RARE_IMAGE else 1 for i in range(8)}


def test_unused_relationships_do_not_make_a_predicate_frequent(tiny_config: TinyConfig) -> None:
    """Self relations are dropped, then images without relationships. Positions count the other images."""
    given = images()
    empty = copy.deepcopy(given[0]) | {"relations": np.array([[0, 0, RARE]])}
    given[5]["relations"] = np.array([[0, 1, COMMON], [1, 1, RARE]])
    found = drawn(tiny_config(*OPTIONS), EPOCH, [empty, *given])
    assert Counter(found) == {i: 4 if i == RARE_IMAGE else 1 for i in range(8)}


def test_a_detector_goes_by_predicate_too(tiny_config: TinyConfig) -> None:
    given = images()
    given[0]["relations"] = []
    found = drawn(tiny_config(*OPTIONS, file="detector.yaml"), EPOCH, given)
    assert Counter(found) == {i: 4 if i == RARE_IMAGE else 1 for i in range(8)}


def test_the_square_root_is_taken_if_asked_for(tiny_config: TinyConfig) -> None:
    found = drawn(tiny_config(*OPTIONS, "DATALOADER.REPEAT_SQRT", "True"), 9)
    assert Counter(found) == {i: 2 if i == RARE_IMAGE else 1 for i in range(8)}


def test_a_seed_gives_the_same_order_in_every_run(tiny_config: TinyConfig) -> None:
    seven = drawn(tiny_config(*OPTIONS, "SEED", "7"), 3 * EPOCH)
    assert seven == drawn(tiny_config(*OPTIONS, "SEED", "7"), 3 * EPOCH)
    assert seven != drawn(tiny_config(*OPTIONS, "SEED", "8"), 3 * EPOCH)
    assert seven[:EPOCH] != seven[EPOCH : 2 * EPOCH]


def test_without_a_seed_every_run_has_an_order_of_its_own(tiny_config: TinyConfig) -> None:
    runs = [drawn(tiny_config(*OPTIONS, "SEED", "-1"), 3 * EPOCH) for _ in range(3)]
    assert runs[0] != runs[1] != runs[2]


def test_a_threshold_that_repeats_nothing_stops_the_run(tiny_config: TinyConfig) -> None:
    """The threshold is Detectron2's default."""
    cfg = tiny_config(*OPTIONS[:2])
    with pytest.raises(ValueError, match=r"DATALOADER\.REPEAT_THRESHOLD is 0\.0"):
        Trainer(cfg)


@pytest.mark.parametrize(
    "name", ["TrainingSampler", "RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler"]
)
def test_detectron2s_samplers_stay_as_they_are(name: str, tiny_config: TinyConfig) -> None:
    cfg = tiny_config(*OPTIONS, "DATALOADER.SAMPLER_TRAIN", name)
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.5  # Detectron2 reads this key, but has no default for it
    loader = Trainer.build_train_loader(cfg, images())
    assert type(loader.sampler).__name__ == name
    if name == "RandomSubsetTrainingSampler":
        assert len(set(islice(loader.sampler, 50))) == 4


def test_an_unknown_sampler_is_named(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN is 'PredicateSampler': give TrainingSampler, "):
        drawn(tiny_config("DATALOADER.SAMPLER_TRAIN", "PredicateSampler"), 1)


def draw_in_each_process(output: str) -> None:
    np.random.seed(comm.get_rank())
    config = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")
    found = drawn(load_config(config, [*TINY, *OPTIONS, "MODEL.WEIGHTS", ""]), EPOCH)
    Path(output, f"{comm.get_rank()}.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_processes_share_an_epoch(tmp_path: Path) -> None:
    """All processes draw from one order, each in its turn, also without a seed."""
    run_in_processes(draw_in_each_process, 2, tmp_path, str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    in_turns = [*chain.from_iterable(zip(first, second, strict=True))]
    for epoch in (in_turns[:EPOCH], in_turns[EPOCH:]):
        assert Counter(epoch) == {i: 4 if i == RARE_IMAGE else 1 for i in range(8)}
