"""Random numbers that follow from a seed, and leave no trace."""

import random

import numpy as np
import torch

from reldn_d2.utils.random_numbers import mixed_seed, seed_generators, seeded_generators


def numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_numbers_follow_from_the_seed_and_the_generators_go_on_as_before() -> None:
    seed_generators(3)
    first, second = numbers(), numbers()
    seed_generators(3)
    assert numbers() == first
    with seeded_generators(mixed_seed(3, 1)):
        inside = numbers()
    assert numbers() == second
    with seeded_generators(mixed_seed(3, 1)):
        assert numbers() == inside
    assert len({*first, *second, *inside}) == 9


def test_an_error_puts_the_generators_back() -> None:
    seed_generators(3)
    first = numbers()
    seed_generators(3)
    try:
        with seeded_generators(8):
            raise KeyError
    except KeyError:
        pass
    assert numbers() == first


def test_seeds_of_neighbours_differ() -> None:
    seeds = {mixed_seed(*x) for x in [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 1), (2**64 - 1, 5)]}
    assert len(seeds) == 8 and all(0 <= seed < 2**64 for seed in seeds)
