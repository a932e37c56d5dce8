"""The rule by which the mini subset of OpenImages is drawn.

The paper's subset is not published; this one has its size and keeps its two conditions: predicates in proportion, and at
least one instance of each. Nothing is random, so that everybody gets the same images.
"""

import numpy as np
from numpy.typing import NDArray


def draw_in_proportion(
    image: NDArray[np.int64], predicate: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Images whose relationships have about the shares of predicates that those of all images have.

    1. The images are sorted by their number of relationships with the rarest predicate, most first, then with the second
       rarest, and so on, then by their own number.
    2. For each predicate, the rarest first, the first image that has it is taken, unless one that was taken already has
       it.
    3. Of the others, those in the middle of equal steps through the order are taken.

    Neighbours in this order have similar relationships, so equal steps take of each kind its share.

    Args:
        image: (R,) the image of each relationship, in any order.
        predicate: (R,) its predicate, at least 0.
        size: how many images to take.

    Returns:
        (size,) images, rising, none twice.

    Raises:
        ValueError: fewer images than that, or too many predicates for so few images.
    """
    numbers, row = np.unique(image, return_inverse=True)
    if not 0 < size <= len(numbers):
        raise ValueError(f"{size} images cannot be drawn from {len(numbers)}")
    counts = np.zeros((len(numbers), int(predicate.max()) + 1), dtype=np.int64)
    np.add.at(counts, (row, predicate), 1)
    # Columns by rarity; a predicate without instances has nothing to be found in.
    counts = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    counts = counts[:, counts.any(axis=0)]
    order = np.lexsort(-counts.T[::-1])
    counts = counts[order]
    taken = np.zeros(len(order), dtype=bool)
    for has_it in (counts > 0).T:
        if not (has_it & taken).any():
            taken[has_it.argmax()] = True
    remaining = size - int(taken.sum())
    if remaining < 0:
        raise ValueError(f"{size} images are too few to hold all of {counts.shape[1]} predicates")
    others = np.flatnonzero(~taken)
    # (2 k + 1) / 2 steps of len(others) / remaining, in integers
    middle = (2 * np.arange(remaining) + 1) * len(others) // (2 * max(remaining, 1))
    taken[others[middle]] = True
    drawn: NDArray[np.int64] = np.sort(numbers[order[taken]])
    return drawn
