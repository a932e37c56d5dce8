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


def recipe_in_words(settings: Mapping[str, str]) -> str:
    """The recipe, by the way in which pairs are drawn, and the settings that are not of this recipe.

    Args:
        settings: keys and values of a YAML config, as JSON (`RunParts.settings`).
    """
    published = _value(settings, METHOD.key) == METHOD.published
    name = "the published code's" if published else "the paper's"
    others = []
    for difference in DIFFERENCES:
        value = _value(settings, difference.key)
        if value != (difference.published if published else difference.paper):
            others.append(f"{difference.key.removeprefix(f'{_HEAD}.')} {value}")
    return f"{name}, but {', '.join(others)}" if others else name


def _value(settings: Mapping[str, str], key: str) -> object:
    return json.loads(settings[key])
