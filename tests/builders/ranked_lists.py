"""Compares ranked lists of models that compute the same with other roundings."""

import pytest
from detectron2.structures import Instances

_FIELDS = ("subject_index", "object_index", "pred_predicates", "scores")


def assert_same_triplets(found: Instances, expected: Instances, rounding: float) -> None:
    """Triplets may change places, since scores of random weights may be nearly equal.

    Args:
        found, expected: "relations" of a model.
        rounding: largest difference of the scores of a triplet, as a share. The last triplets of a list may
            be others; at least 95 % are the same.
    """
    ours, theirs = (
        {tuple(triplet): score for *triplet, score in zip(*(x.get(f).tolist() for f in _FIELDS), strict=True)}
        for x in (found, expected)
    )
    common = ours.keys() & theirs.keys()
    assert len(ours) == len(theirs) > 10 and len(common) >= 0.95 * len(theirs)
    assert {x: ours[x] for x in common} == pytest.approx({x: theirs[x] for x in common}, rel=rounding)
