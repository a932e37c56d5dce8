"""Random numbers that follow from a seed and a position, so that nothing about them has to be saved."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def mixed_seed(*numbers: int) -> int:
    """A seed of 64 bits from numbers of 0 or more. Each list of numbers gives another one.

    Example:
        >>> mixed_seed(7, 0) == mixed_seed(7, 0), mixed_seed(7, 0) == mixed_seed(7, 1)
        (True, False)
    """
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8])


def seed_generators(seed: int) -> None:
    """Seeds the generators of Python, NumPy and PyTorch, on all devices.

    Args:
        seed: a number from 0 to 2**64 - 1.
    """
    _seed_cpu(seed)
    torch.manual_seed(seed)


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seeds the generators of Python, NumPy and PyTorch's CPU, and puts their state back at the end.

    Args:
        seed: a number from 0 to 2**64 - 1.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_cpu(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_cpu(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed, which would also seed the GPUs.
    torch.default_generator.manual_seed(seed)
