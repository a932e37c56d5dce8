import logging
import math
from itertools import islice
from typing import Any

import pytest
import torch
from detectron2.data.samplers import RepeatFactorTrainingSampler
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data.statistics import predicate_repeat_factors
from tests.builders.dataset_images import compact, image, images

TWO = [(0, 0, 4, 4), (1, 1, 5, 5)]
COMMON, RARE = 0, 1


def scene(*predicates: int) -> dict[str, Any]:
    return image(TWO, [0, 1], [(0, 1, p) for p in predicates])


def slow_factors(data: list[dict[str, Any]], threshold: float, sqrt: bool) -> list[float]:
    of_image = [{int(row[2]) for row in one["relations"]} for one in data]
    factors = []
    for predicates in of_image:
        largest = 1.0
        for p in predicates:
            share = sum(p in others for others in of_image) / len(data)
            largest = max(largest, math.sqrt(threshold / share) if sqrt else threshold / share)
        factors.append(largest)
    return factors


@given(st.lists(images(), max_size=6), st.floats(0.01, 1), st.booleans())
def test_the_rarest_predicate_of_an_image_counts(
    data: list[dict[str, Any]], threshold: float, sqrt: bool
) -> None:
    found = predicate_repeat_factors(data, threshold, sqrt=sqrt)
    assert found.dtype == torch.float32 and found.shape == (len(data),)
    assert found.tolist() == pytest.approx(slow_factors(data, threshold, sqrt), rel=1e-6)


@pytest.mark.parametrize("form", [lambda x: x, compact])
def test_a_worked_example(form: Any, caplog: pytest.LogCaptureFixture) -> None:
    # RARE is in one of eight images, COMMON in six. Repeats in an image do not matter.
    data = [*(scene(COMMON, COMMON) for _ in range(5)), scene(COMMON, RARE, RARE), scene(), image([], [], [])]
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        found = predicate_repeat_factors([form(one) for one in data], 0.5, sqrt=False)
    assert found.tolist() == [1, 1, 1, 1, 1, 4, 1, 1]
    assert "1 of 8 images are repeated: 11 are drawn in an epoch" in caplog.text
    assert predicate_repeat_factors(data, 0.5).tolist() == [1, 1, 1, 1, 1, 2, 1, 1]
    assert predicate_repeat_factors(data, 0.1).tolist() == [1] * 8


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_repeats_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"DATALOADER\.REPEAT_THRESHOLD is .*another SAMPLER_TRAIN"):
        predicate_repeat_factors([scene(COMMON)], threshold)


def test_an_image_without_a_list_of_relationships_is_named() -> None:
    without = scene()
    del without["relations"]
    with pytest.raises(ValueError, match=r"image 1 .*has no 'relations'"):
        predicate_repeat_factors([scene(COMMON), without], 0.5)


def test_the_sampler_draws_images_by_their_factors() -> None:
    data = [scene(COMMON) for _ in range(15)] + [scene(RARE)]
    factors = predicate_repeat_factors(data, 0.25, sqrt=False)
    assert factors.tolist() == [1] * 15 + [4]
    drawn = list(islice(RepeatFactorTrainingSampler(factors, seed=3), 2 * 19))
    for epoch in (drawn[:19], drawn[19:]):
        assert sorted(epoch) == [*range(15), 15, 15, 15, 15]
    assert drawn[:19] != drawn[19:]
