"""Scenes: a layout, then the answer (who holds or plays what), then the order of the annotations.

Each of the three comes from its own random stream, so it can't depend on the draws of the others.

A layout is the geometry of a scene. It has candidates (people x targets) for "holds" or "plays" and no
answer. It is accepted only if the clue would be visible for *every* candidate, so accepting or rejecting it
says nothing about the answer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .geometry import BOX_RIM, Box, FloatArray, Item, arm_paths, grip, guitar_item, head_center, head_radius
from .vocabulary import GENERATOR_VERSION, IMAGE_SIZE, SPLITS, Category, Predicate

TABLE_SCENE_SHARE = 0.55
ENTITIES = range(6, 11)
MAX_ATTEMPTS = 2000
TABLE_TOP_DEPTH = 22.0
TABLE_APRON = 6.0
CUP_IN_BOX_HEIGHT = 15.0

HAND_CLEARANCE = 12.0
"""Least distance, in pixels, of an arm to the grips and cups that it does not reach for."""

HOLDER_SHARE = 0.85
"""Probability that a person at a table holds a cup."""

Relation = tuple[int, int, Predicate]


@dataclass(frozen=True)
class Layout:
    """Geometry of one scene.

    Attributes:
        items: entities, from back to front.
        relations: (subject, object, predicate) for the predicates that geometry decides; subject and object
            are rows of `items`.
        people: rows of the people in `items`.
        targets: rows of the cups that could be held or of the guitars that could be played.
        reach: HOLDS or PLAYS, the predicate of a person whose hand is at a target.
    """

    items: tuple[Item, ...]
    relations: tuple[Relation, ...]
    people: tuple[int, ...]
    targets: tuple[int, ...]
    reach: Predicate


@dataclass(frozen=True)
class Scene:
    """One scene without its colours.

    Attributes:
        layout: the geometry.
        reached: position in `layout.targets` of the thing that each of `layout.people` holds or plays, or
            None.
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


class Draws:
    """A stream of random choices from one seed, the same with every version of NumPy.

    Everything is derived from `Generator.random()`: NumPy may change the algorithms behind `integers` or
    `permutation` between versions, but the doubles of PCG64 are pinned by its own test suite.
    """

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._values = _uniforms(np.random.Generator(np.random.PCG64(seed)))

    def unit(self) -> float:
        """A float in [0, 1)."""
        return next(self._values)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high), rounded to a tenth."""
        return round(low + (high - low) * self.unit(), 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + math.floor((high - low + 1) * self.unit())

    def permutation(self, n: int) -> list[int]:
        """0..n-1 in uniformly random order."""
        keys = [self.unit() for _ in range(n)]
        return sorted(range(n), key=keys.__getitem__)

    def spaced(self, n: int, low: float, high: float, gap: float) -> list[float] | None:
        """`n` ascending random positions in [low, high], at least `gap` apart; None if they do not fit."""
        slack = high - low - gap * (n - 1)
        if slack < 0:
            return None
        return [
            low + i * gap + offset
            for i, offset in enumerate(sorted(self.uniform(0.0, slack) for _ in range(n)))
        ]


def _uniforms(generator: np.random.Generator) -> Iterator[float]:
    while True:
        yield from generator.random(64).tolist()


def make_scene(split: str, index: int, seed: int = 0) -> Scene:
    """Scene `index` of a split. It depends only on the arguments and on `GENERATOR_VERSION`.

    Args:
        split: "train" or "test".
        index: number of the scene, at least 0.
        seed: random seed; another seed gives other scenes.

    Raises:
        ValueError: unknown split, or a negative index or seed.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of the drawn scenes; choose one of {sorted(SPLITS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"scene index and seed must not be negative, got index {index} and seed {seed}")
    _, answer, order, style, grain = _seeds(split, index, seed)
    layout = _layout(split, index, seed)
    reached = _sample_answer(layout, Draws(answer))
    return Scene(layout, reached, *_annotate(layout, reached, Draws(order)), style, grain)


@lru_cache(maxsize=4096)
def _layout(split: str, index: int, seed: int) -> Layout:
    """The layout of a scene. A run loads its scenes several times, and this takes most of the time."""
    return sample_layout(Draws(_seeds(split, index, seed)[0]))


def _seeds(split: str, index: int, seed: int) -> list[np.random.SeedSequence]:
    """Seeds of layout, answer, order of the entities, style and grain of a scene."""
    return np.random.SeedSequence([GENERATOR_VERSION, SPLITS[split], seed, index]).spawn(5)


def _sample_answer(layout: Layout, draws: Draws) -> tuple[int | None, ...]:
    """Draw distinct targets for the people, uniformly over all assignments, for any geometry."""
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
    """A random order of the annotations, and all relations in random order."""
    order = draws.permutation(len(layout.items))
    position = {row: annotation for annotation, row in enumerate(order)}
    rows = list(layout.relations)
    for person, target in zip(layout.people, reached, strict=True):
        if target is not None:
            rows.append((person, layout.targets[target], layout.reach))
    relations = [(position[s], position[o], int(p)) for s, o, p in rows]
    shuffled = [relations[i] for i in draws.permutation(len(relations))]
    return tuple(order), np.array(shuffled, dtype=np.int64).reshape(-1, 3)


class _Builder:
    """Collects items and the relations that geometry decides."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.relations: list[Relation] = []

    def add(self, item: Item) -> int:
        self.items.append(item)
        return len(self.items) - 1

    def relate(self, subject: int, object: int, predicate: Predicate) -> None:
        self.relations.append((subject, object, predicate))

    def rows(self, category: Category) -> tuple[int, ...]:
        return tuple(row for row, item in enumerate(self.items) if item.category == category)

    def layout(self, targets: Category, reach: Predicate) -> Layout | None:
        if len(self.items) not in ENTITIES:
            return None
        people = self.rows(Category.PERSON)
        layout = Layout(tuple(self.items), tuple(self.relations), people, self.rows(targets), reach)
        return layout if clue_is_visible(layout) else None


def sample_layout(draws: Draws) -> Layout:
    """A layout of either kind. Layouts are drawn until the clue would be visible for every answer."""
    sample = _sample_table if draws.chance(TABLE_SCENE_SHARE) else _sample_band
    for _ in range(MAX_ATTEMPTS):
        layout = sample(draws)
        if layout is not None:
            return layout
    raise RuntimeError(f"no acceptable scene in {MAX_ATTEMPTS} attempts")


def clue_is_visible(layout: Layout) -> bool:
    """Whether every possible arm stays clear of the other hands and heads, so that it can be recognised."""
    people = [layout.items[row] for row in layout.people]
    targets = [layout.items[row] for row in layout.targets]
    grips = np.array([grip(target) for target in targets])
    paths = arm_paths(people, targets)
    same_target = np.eye(len(targets), dtype=bool)
    same_person = np.eye(len(people), dtype=bool)[:, None]
    others = np.array([item.center for item in layout.items if _needs_distance(item, layout)]).reshape(-1, 2)
    heads = np.array([head_center(person) for person in people])
    radius = max(head_radius(person) for person in people)
    return bool(
        (_closest(paths, grips) + 1e3 * same_target > HAND_CLEARANCE).all()
        and (_closest(paths, others) > HAND_CLEARANCE).all()
        and (_closest(paths, heads) + 1e3 * same_person > radius + 4).all()
        and not _boxes_hold_grips(targets, grips)
    )


def _needs_distance(item: Item, layout: Layout) -> bool:
    """Whether every arm must stay clear of the item: a cup where guitars are played."""
    return item.category == Category.CUP and layout.reach == Predicate.PLAYS


def _closest(paths: FloatArray, points: FloatArray) -> FloatArray:
    """(people, targets, len(points)) least distance of each arm to each point."""
    distance: FloatArray = np.linalg.norm(paths[:, :, :, None] - points, axis=-1).min(axis=2)
    return distance


def _boxes_hold_grips(targets: list[Item], grips: FloatArray) -> bool:
    """Whether a grip lies in the box of another target, so that the hand would seem to be there."""
    boxes = np.array([target.box for target in targets])[:, None]
    inside = ((grips > boxes[..., :2] - 2) & (grips < boxes[..., 2:] + 2)).all(axis=-1)
    return bool(inside.sum() > len(targets))


def _sample_table(draws: Draws) -> Layout | None:
    """Draw people behind a table with identical cups, of which they hold some."""
    build = _Builder()
    width, top = draws.uniform(124, 168), draws.uniform(92, 102)
    left = draws.uniform(6, IMAGE_SIZE - 6 - width)
    right = left + width
    number = 1 + draws.chance(0.55) + draws.chance(0.15)
    centers = draws.spaced(number, left + 16, right - 16, 44)
    if centers is None:
        return None
    apron = top + TABLE_TOP_DEPTH + TABLE_APRON
    people = [_add_person(build, draws, x, apron + draws.uniform(10, 14)) for x in centers]
    floor = apron + draws.uniform(32, 38)
    under = None
    if draws.chance(0.3):
        under = _add_box(build, draws, draws.uniform(left + 26, right - 26), floor - 3)
    table = build.add(Item(Category.TABLE, (left, top, round(right, 1), round(floor, 1))))
    for person in people:
        build.relate(person, table, Predicate.AT)
    if under is not None:
        build.relate(under, table, Predicate.UNDER)
    return build.layout(Category.CUP, Predicate.HOLDS) if _set_table(build, draws, table) else None


def _set_table(build: _Builder, draws: Draws, table: int) -> bool:
    """Put cups, and sometimes a box, on the table; False if they do not fit."""
    left, top, right, _ = build.items[table].box
    size = draws.uniform(0.9, 1.2)
    has_box = draws.chance(0.4)
    in_box = has_box and draws.chance(0.6)
    number = draws.integer(2, 4)
    standing = number - in_box
    spots = draws.spaced(standing + has_box, left + 20, right - 20, 28 if has_box else 24)
    if spots is None:
        return False
    box_spot = draws.integer(0, standing) if has_box else -1
    for spot, x in enumerate(spots):
        base = top + draws.uniform(8, TABLE_TOP_DEPTH - 2)
        if spot == box_spot:
            row = _add_box(build, draws, x, base)
            if in_box:
                _add_cup_at_box(build, row, size)
        else:
            row = build.add(_cup(x, base, size))
        build.relate(row, table, Predicate.ON)
    return True


def _sample_band(draws: Draws) -> Layout | None:
    """Draw musicians close to each other, with as many guitars as musicians or one more."""
    build = _Builder()
    number = 2 + draws.chance(0.45)
    centers = draws.spaced(number, 24, IMAGE_SIZE - 24, 42)
    guitars = number + (number == 2 and draws.chance(0.35))
    has_box = guitars == 2 and draws.chance(0.6)
    spots = draws.spaced(guitars + has_box, 26, IMAGE_SIZE - 26, 38)
    if centers is None or spots is None:
        return None
    for x in centers:
        _add_person(build, draws, x, draws.uniform(124, 142))
    box_spot = draws.integer(0, guitars) if has_box else -1
    for spot, x in enumerate(spots):
        if spot == box_spot:
            row = _add_box(build, draws, x, draws.uniform(164, 184))
            if draws.chance(0.7):
                _add_cup_at_box(build, row, draws.uniform(0.9, 1.2))
        else:
            center = x, draws.uniform(116, 146)
            build.add(guitar_item(center, draws.uniform(52, 60), draws.uniform(-38, 38)))
    return build.layout(Category.GUITAR, Predicate.PLAYS) if _inside_image(build.items) else None


def _inside_image(items: list[Item]) -> bool:
    boxes = np.array([item.box for item in items])
    return bool(boxes.min() >= 1 and boxes.max() <= IMAGE_SIZE - 1)


def _add_person(build: _Builder, draws: Draws, x: float, feet: float) -> int:
    """Add a person whose shoes are at height `feet`, with a hat half of the time."""
    width, height = draws.uniform(36, 40), draws.uniform(102, 114)
    top = feet - height
    person = build.add(Item(Category.PERSON, _rounded(x - width / 2, top, x + width / 2, feet)))
    if draws.chance(0.5):
        radius = 0.1 * height
        half = radius * draws.uniform(1.3, 1.5)
        hat = _rounded(x - half, top - 0.75 * radius, x + half, top + 0.75 * radius)
        build.relate(person, build.add(Item(Category.HAT, hat)), Predicate.WEARS)
    return person


def _add_box(build: _Builder, draws: Draws, x: float, base: float) -> int:
    half, height = draws.uniform(13, 16), draws.uniform(20, 25)
    item = Item(Category.BOX, _rounded(x - half, base - height, x + half, base), is_open=draws.chance(0.6))
    return build.add(item)


def _add_cup_at_box(build: _Builder, box: int, size: float) -> None:
    """Add a cup: inside the box if it is open, else on the box."""
    holder = build.items[box]
    x, top = holder.center[0], holder.box[1]
    cup = _cup(x, top + BOX_RIM, size)
    if holder.is_open:
        x0, _, x1, y1 = cup.box
        cup = Item(Category.CUP, _rounded(x0, y1 - CUP_IN_BOX_HEIGHT, x1, y1))
    build.relate(build.add(cup), box, Predicate.INSIDE_OF if holder.is_open else Predicate.ON)


def _cup(x: float, base: float, size: float) -> Item:
    half, height = 9 * size, 19 * size
    return Item(Category.CUP, _rounded(x - half, base - height, x + half, base))


def _rounded(x0: float, y0: float, x1: float, y1: float) -> Box:
    return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)
