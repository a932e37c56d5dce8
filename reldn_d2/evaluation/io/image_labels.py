"""Ground truth with the verified classes of OpenImages' image labels."""

from collections.abc import Mapping
from dataclasses import replace

from ..graphs import GroundTruthGraph, IntArray


def with_verified_classes(
    truths: Mapping[str, GroundTruthGraph], labels: Mapping[str, IntArray]
) -> dict[str, GroundTruthGraph]:
    """Annotations with the verified classes of image labels.

    Args:
        truths: image id -> annotation.
        labels: image id -> verified classes, as `reldn_d2.utils.image_labels.read_image_labels` returns them.
            It may hold other images too; an image that it does not hold keeps the classes that it has.

    Raises:
        ValueError: no image is in both.
    """
    if truths.keys().isdisjoint(labels):
        raise ValueError(
            f"the image labels are of other images ({next(iter(labels), 'none')}, ...) than the data set "
            f"({next(iter(truths), 'none')}, ...); give the labels of its split"
        )
    return {
        image_id: replace(truth, verified_classes=labels.get(image_id, truth.verified_classes))
        for image_id, truth in truths.items()
    }
