"""Settings of a recipe that follow from the data."""

from typing import Any

import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.recipes.fit import fitted_length, fitted_sizes, fitted_test_batch
from tests.builders.config_files import load


def images(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"height": height, "width": width} for height, width in sizes]


@pytest.mark.parametrize(
    ("sizes", "short"),
    [
        ([(192, 192)], 192),
        ([(100, 200), (300, 150), (900, 1200)], 150),  # the median of the shorter sides
        ([(480, 640)] * 3, 320),  # the largest
    ],
)
def test_images_are_as_large_as_the_data_up_to_a_limit(sizes: list[tuple[int, int]], short: int) -> None:
    found = fitted_sizes(load("scenes/detector.yaml"), images(*sizes))
    assert found["INPUT.MIN_SIZE_TRAIN"] == (short,) and found["INPUT.MIN_SIZE_TEST"] == short
    assert found["INPUT.MAX_SIZE_TRAIN"] == found["INPUT.MAX_SIZE_TEST"] == round(short * 5 / 3)
    assert found["MODEL.ANCHOR_GENERATOR.SIZES"][0] == [pytest.approx(21 * short / 192, abs=0.1)]


def test_the_scenes_keep_the_sizes_and_lengths_of_the_demo() -> None:
    detector, relations = load("scenes/detector.yaml"), load("scenes/reldn.yaml")
    found = fitted_sizes(detector, DatasetCatalog.get("reldn_scenes_tiny_train"))
    assert found["MODEL.ANCHOR_GENERATOR.SIZES"] == detector.MODEL.ANCHOR_GENERATOR.SIZES
    for cfg, epochs in ((detector, 1.3), (relations, 1)):
        kept = {"SOLVER.MAX_ITER": cfg.SOLVER.MAX_ITER, "SOLVER.STEPS": tuple(cfg.SOLVER.STEPS)}
        assert fitted_length(cfg, 1600, epochs) == kept


@pytest.mark.parametrize(
    ("num_images", "length", "steps"),
    [
        (10, 200, (150, 185)),  # at least the config's
        (4000, 500, (375, 462)),  # one pass in batches of 8
        (100_000, 2000, (1500, 1850)),  # at most ten times the config's
    ],
)
def test_lengths_are_passes_over_the_images_within_bounds(
    num_images: int, length: int, steps: tuple[int, ...]
) -> None:
    found = fitted_length(load("scenes/reldn.yaml"), num_images, 1)
    assert found == {"SOLVER.MAX_ITER": length, "SOLVER.STEPS": steps}


def test_only_images_of_one_size_share_an_inference_step() -> None:
    assert fitted_test_batch(images((5, 6), (5, 6))) == {"TEST.IMS_PER_BATCH": 8}
    assert fitted_test_batch(images((5, 6), (6, 5))) == {"TEST.IMS_PER_BATCH": 1}
