"""Counts of a training set for the semantic module, compared with plain loops."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.data import predicate_counts
from reldn_d2.structures.annotations import Annotations
from tests.references.statistics import slow_counts

from .timing import Row, Skipped, Timer

_Images = list[dict[str, Any]]
_RULES = {"": False, ", overlap rule": True}


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the counts beside loops, with and without the overlap rule."""
    vrd, vrd_size = generate(4_000, 6.6, 7.6, 100, 70), (100, 70)
    for rule, overlap_only in _RULES.items():
        yield timer.measure(
            f"statistics, {describe(vrd)}{rule}",
            partial(predicate_counts, vrd, *vrd_size, overlap_only=overlap_only),
            slow=partial(slow_counts, vrd, *vrd_size, overlap_only, "unrelated"),
            slow_name="loops",
            same=np.testing.assert_array_equal,
        )


def generate(count: int, entities: float, relationships: float, classes: int, predicates: int) -> _Images:
    """Makes images of 1,000 x 800 pixels with random annotations.

    Args:
        count: number of images.
        entities, relationships: average numbers in an image; at least 2 and 1.
        classes, predicates: numbers of classes and predicates to draw from.
    """
    rng = np.random.default_rng(0)
    return [
        _image(rng, 2 + rng.poisson(entities - 2), 1 + rng.poisson(relationships - 1), classes, predicates)
        for _ in range(count)
    ]


def describe(images: _Images) -> str:
    """The numbers of images and relationships as text."""
    return f"{len(images):,} images, {sum(len(image['relations']) for image in images):,} relationships"


def _image(
    rng: np.random.Generator, entities: int, relationships: int, classes: int, predicates: int
) -> dict[str, Any]:
    corners = np.sort(rng.uniform(0, (1000, 800), (entities, 2, 2)), axis=1)
    subject = rng.integers(entities, size=relationships)
    object = (subject + rng.integers(1, entities, relationships)) % entities
    relations: NDArray[np.int64] = np.stack(
        [subject, object, rng.integers(predicates, size=relationships)], 1
    )
    annotations = Annotations(corners.reshape(-1, 4), rng.integers(classes, size=entities))
    return {"annotations": annotations, "relations": relations}
