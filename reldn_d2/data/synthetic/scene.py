"""Scenes: a layout, then the answer (who holds or plays what), then the order of the annotations.

Each of the three comes from its own random stream, so none can depend on another's draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Layout, sample_layout
from .random_draws import Draws
from .vocabulary import GENERATOR_VERSION, SPLITS, Predicate

HOLDER_SHARE = 0.85
"""Probability that a person at a table holds a cup."""


@dataclass(frozen=True)
class Scene:
    """Everything about one scene but its colours.

    Attributes:
        layout: geometry.
        reached: for each of `layout.people`, the position in `layout.targets` of what the person holds or
            plays, or None.
        order: annotation `i` is row `order[i]` of `layout.items`.
        relations: (R, 3) int64 (subject, object, predicate), positions in the annotations.
        style: seed of the colours.
        grain: seed of the pixel noise.
    """

    layout: Layout
    reached: tuple[int | None, ...]
    order: tuple[int, ...]
    relations: NDArray[np.int64]
    style: np.random.SeedSequence
    grain: np.random.SeedSequence


def make_scene(split: str, index: int, seed: int = 0) -> Scene:
    """Scene `index` of a split; depends on nothing but the arguments and `GENERATOR_VERSION`.

    Raises:
        ValueError: unknown split, negative index or seed.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of the drawn scenes; choose one of {sorted(SPLITS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"scene index and seed must not be negative, got index {index} and seed {seed}")
    root = np.random.SeedSequence([GENERATOR_VERSION, SPLITS[split], seed, index])
    geometry, answer, order, style, grain = root.spawn(5)
    layout = sample_layout(Draws(geometry))
    reached = _sample_answer(layout, Draws(answer))
    return Scene(layout, reached, *_annotate(layout, reached, Draws(order)), style, grain)


def _sample_answer(layout: Layout, draws: Draws) -> tuple[int | None, ...]:
    """Distinct targets for the people, uniform over all assignments, blind to the geometry."""
    targets = draws.permutation(len(layout.targets))
    share = 1.0 if layout.reach == Predicate.PLAYS else HOLDER_SHARE
    reached: list[int | None] = [None] * len(layout.people)
    for person in draws.permutation(len(layout.people)):
        if targets and draws.chance(share):
            reached[person] = targets.pop()
    return tuple(reached)


def _annotate(
    layout: Layout, reached: tuple[int | None, ...], draws: Draws
) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Shuffled annotation order, and all relations in shuffled order."""
    order = draws.permutation(len(layout.items))
    position = {row: annotation for annotation, row in enumerate(order)}
    rows = list(layout.relations)
    for person, target in zip(layout.people, reached, strict=True):
        if target is not None:
            rows.append((person, layout.targets[target], layout.reach))
    relations = [(position[s], position[o], int(p)) for s, o, p in rows]
    shuffled = [relations[i] for i in draws.permutation(len(relations))]
    return tuple(order), np.array(shuffled, dtype=np.int64).reshape(-1, 3)
