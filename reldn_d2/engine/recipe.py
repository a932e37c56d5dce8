"""Which recipe a training of RelDN follows: the text of the paper, or the code published with it."""

import json
from collections.abc import Mapping
from typing import NamedTuple

_HEAD = "MODEL.ROI_RELATION_HEAD"


class Difference(NamedTuple):
    """A setting in which the two recipes differ.

    Attributes:
        key: key of a YAML config.
        paper, published: its values.
    """

    key: str
    paper: object
    published: object


METHOD = Difference(f"{_HEAD}.SAMPLING.METHOD", "paper", "published")
#: Every setting in which the recipes differ. docs/training_recipes.md explains each.
DIFFERENCES = (
    METHOD,
    Difference(f"{_HEAD}.SAMPLING.BATCH_SIZE_PER_IMAGE", 512, 2048),
    Difference(f"{_HEAD}.SAMPLING.POSITIVES_PER_IMAGE", 128, 512),
    Difference(f"{_HEAD}.OVERLAP_ONLY", False, True),
    Difference(f"{_HEAD}.SEMANTIC.BACKGROUND_COUNT", "unrelated", "all"),
    Difference(f"{_HEAD}.SEMANTIC.LEARNABLE", False, True),
    Difference(f"{_HEAD}.VISUAL.FEATURES_BEFORE_RELU", False, True),
    Difference(f"{_HEAD}.LOSS.NORMALIZATION", "anchors", "published"),
)
#: The proposals that the published code draws its pairs from. The paper's pairs do not depend on them.
PROPOSALS: Mapping[str, object] = {
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": True,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
}


def recipe_in_words(settings: Mapping[str, str]) -> str:
    """The recipe, by the way in which pairs are drawn, and the settings that are not of this recipe.

    Args:
        settings: keys and values of a YAML config, as JSON (`RunParts.settings`).
    """
    published = _value(settings, METHOD.key) == METHOD.published
    name = "the published code's" if published else "the paper's"
    wanted = {x.key: x.published if published else x.paper for x in DIFFERENCES}
    if published:
        wanted.update(PROPOSALS)
    found = {key: _value(settings, key) for key in wanted}
    others = [f"{_short(key)} {value}" for key, value in found.items() if value != wanted[key]]
    return f"{name}, but {', '.join(others)}" if others else name


def _short(key: str) -> str:
    return key.removeprefix(f"{_HEAD}.").removeprefix("MODEL.")


def _value(settings: Mapping[str, str], key: str) -> object:
    return json.loads(settings[key])
