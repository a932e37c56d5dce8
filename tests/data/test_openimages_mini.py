from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reldn_d2.data.datasets.openimages.vrd import draw_in_proportion

Ints = NDArray[np.int64]


def shares(predicate: Ints, num_predicates: int) -> NDArray[np.float64]:
    return np.bincount(predicate, minlength=num_predicates) / len(predicate)


@st.composite
def relationships(draw: st.DrawFn) -> tuple[Ints, Ints]:
    """(R,) images, with gaps in their numbers, and (R,) predicates."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=80))
    image, predicate = np.array(pairs, dtype=np.int64).T
    return image * 3, predicate


def slowly_drawn(image: Ints, predicate: Ints, size: int) -> list[int]:
    """The rule, step by step."""
    of_image: dict[int, list[int]] = {}
    for i, p in zip(image.tolist(), predicate.tolist(), strict=True):
        of_image.setdefault(i, []).append(p)
    present = sorted(set(predicate.tolist()), key=lambda p: (predicate.tolist().count(p), p))
    order = sorted(of_image, key=lambda i: ([-of_image[i].count(p) for p in present], i))
    taken: list[int] = []
    for p in present:
        if not any(p in of_image[i] for i in taken):
            taken.append(next(i for i in order if p in of_image[i]))
    others = [i for i in order if i not in taken]
    steps = size - len(taken)
    for k in range(steps):
        taken.append(others[int((k + 0.5) * len(others) / steps)])
    return sorted(taken)


@given(relationships())
def test_the_rule_holds_for_any_order_of_rows(data: tuple[Ints, Ints]) -> None:
    image, predicate = data
    num_images, num_predicates = len(np.unique(image)), len(np.unique(predicate))
    # As many images as predicates always hold all of these, unless there are fewer images.
    enough = min(num_images, num_predicates)
    for size in {num_images, (num_images + enough) // 2, enough}:
        drawn = draw_in_proportion(image, predicate, size)
        assert len(drawn) == size == len(set(drawn.tolist()))
        assert set(drawn.tolist()) <= set(image.tolist())
        assert set(predicate[np.isin(image, drawn)].tolist()) == set(predicate.tolist())
        assert drawn.tolist() == slowly_drawn(image, predicate, size)
        shuffled = np.random.default_rng(size).permutation(len(image))
        assert draw_in_proportion(image[shuffled], predicate[shuffled], size).tolist() == drawn.tolist()


def test_a_hand_made_case() -> None:
    # predicate 1 is the rarest (2 instances), then 0 (5): images in the order 7 (two of 1), 2 (three of 0),
    # 1, 9
    image = np.array([7, 7, 2, 2, 2, 1, 9])
    predicate = np.array([1, 1, 0, 0, 0, 0, 0])
    assert draw_in_proportion(image, predicate, 2).tolist() == [2, 7]
    # images 7 and 2 have all predicates; the middle one of the other two is the second
    assert draw_in_proportion(image, predicate, 3).tolist() == [2, 7, 9]
    assert draw_in_proportion(image, predicate, 4).tolist() == [1, 2, 7, 9]


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_predicates_are_close(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 5000, 20000)
    predicate = random.choice(9, 20000, p=[0.6, 0.2, 0.1, 0.04, 0.03, 0.015, 0.01, 0.004, 0.001])
    drawn = np.isin(image, draw_in_proportion(image, predicate, 500))
    assert np.abs(shares(predicate[drawn], 9) - shares(predicate, 9)).max() < 0.01
    assert drawn.mean() == pytest.approx(0.1, abs=0.005)


def test_a_predicate_of_one_image_is_always_there() -> None:
    image, predicate = np.arange(1000), np.zeros(1000, dtype=np.int64)
    predicate[501] = 3
    assert 501 in draw_in_proportion(image, predicate, 2)


@pytest.mark.parametrize("size", [0, 4])
def test_a_size_that_does_not_fit_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} images cannot be drawn from 3"):
        draw_in_proportion(np.array([1, 2, 2, 5]), np.array([0, 0, 0, 0]), size)


def test_more_predicates_than_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 images are too few to hold all of 2 predicates"):
        draw_in_proportion(np.array([1, 2]), np.array([0, 1]), 1)


@pytest.mark.parametrize("size", [500, 1000])
def test_real_annotations_keep_their_shares(dev_data: Path, size: int) -> None:
    table = pd.read_csv(dev_data / "openimages_vrd" / "sample-vrd.csv")
    table = table[table["RelationLabel"] != "is"]
    image = pd.factorize(table["ImageID"], sort=True)[0].astype(np.int64)
    predicate = pd.factorize(table["RelationLabel"], sort=True)[0].astype(np.int64)
    drawn = np.isin(image, draw_in_proportion(image, predicate, size))
    assert np.abs(shares(predicate[drawn], 9) - shares(predicate, 9)).max() < 0.02
    assert np.bincount(predicate[drawn], minlength=9).min() >= 1
