"""Drawing images with rare predicates more often."""

import logging
from collections.abc import Sequence

from detectron2.data.samplers import RepeatFactorTrainingSampler
from torch import Tensor

from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows

logger = logging.getLogger(__name__)


def predicate_repeat_factors(
    dataset_dicts: Sequence[DatasetDict], threshold: float, *, sqrt: bool = True
) -> Tensor:
    """How often each image is drawn in an epoch, on average: for Detectron2's RepeatFactorTrainingSampler.

    With f(p) the share of images that have predicate p, the factor of an image is the largest max(1, threshold / f(p))
    of its predicates: Detectron2's rule, with predicates in the place of classes.

    Args:
        dataset_dicts: the images that are drawn from.
        threshold: the share of images below which a predicate is rare; `DATALOADER.REPEAT_THRESHOLD`.
        sqrt: take the square root of threshold / f(p); `DATALOADER.REPEAT_SQRT`.

    Returns:
        (I,) float32, at least 1; 1 for an image without relationships.

    Raises:
        ValueError: the threshold is not positive, so that no image would be drawn more often; an image without
            `"relations"`, or with broken ones.
    """
    if not threshold > 0:
        raise ValueError(
            f"DATALOADER.REPEAT_THRESHOLD is {threshold}, so no predicate is rare and no image would be repeated. Set it "
            "to the share of images below which a predicate is rare (such as 0.01), or choose another SAMPLER_TRAIN."
        )
    # Detectron2's function reads nothing but the classes of annotations.
    as_categories = [
        {"annotations": [{"category_id": p} for p in set(relation_rows(dataset_dict)[:, 2].tolist())]}
        for dataset_dict in dataset_dicts
    ]
    logger.info("Repeat factors go by predicate; these are the categories (Cat ID) that Detectron2 lists.")
    factors: Tensor = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        as_categories, threshold, sqrt=sqrt
    )
    repeated, epoch = int((factors > 1).sum()), float(factors.sum())
    logger.info("%d of %d images are repeated: %.0f are drawn in an epoch.", repeated, len(factors), epoch)
    return factors
