"""Names of earlier releases, and what they are called today.

Old files are converted when they are read. The old names are not registered, so that another project can use
them: a name that somebody has registered is not converted.
"""

import json
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from detectron2.data import DatasetCatalog
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
)

#: Keys of earlier releases -> their present names; None: the key has no effect any more.
OLD_KEYS: dict[str, str | None] = {
    "MODEL.ROI_RELATION_HEAD.TEST.LEFT_OUT_PREDICATES": "MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES",
    "MODEL.ROI_RELATION_HEAD.TEST.EXHAUSTIVE": None,
    "MODEL.TIMM.NAME": "MODEL.RELDN_TIMM.NAME",
    "MODEL.TIMM.FREEZE_NORM": "MODEL.RELDN_TIMM.FREEZE_NORM",
    "MODEL.VGG.CHANNELS": "MODEL.RELDN_VGG.CHANNELS",
    "MODEL.VGG.DROPOUT": "MODEL.RELDN_VGG.DROPOUT",
}

#: Nodes of these keys that RelDN does not have any more. Another project may have them.
OLD_NODES = ("MODEL.TIMM", "MODEL.VGG")

#: Values of keys that select a part of a model or a sampler -> their present names.
OLD_VALUES: dict[str, str] = {
    "build_timm_backbone": "build_reldn_timm_backbone",
    "build_timm_fpn_backbone": "build_reldn_timm_fpn_backbone",
    "build_vgg16_backbone": "build_reldn_vgg16_backbone",
    "VGGBoxHead": "RelDNVGGBoxHead",
    "RoundedAnchorGenerator": "RelDNRoundedAnchorGenerator",
    "PublishedRPN": "RelDNPublishedRPN",
    "PublishedROIHeads": "RelDNPublishedROIHeads",
    "PredicateRepeatFactorTrainingSampler": "RelDNPredicateRepeatFactorTrainingSampler",
}

#: The name of a built-in data set is this prefix and its old name.
DATASET_PREFIX = "reldn_"

# Keys of YAML configs that select a part by its name, and where the names are registered. Samplers have no
# registry.
_SELECTING: dict[str, Collection[str]] = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
    "DATALOADER.SAMPLER_TRAIN": (),
}
# Shell patterns of the keys that name data sets, in YAML and in Python configs.
_NAMING_DATA_SETS = (
    *("DATASETS.TRAIN", "DATASETS.TEST", "DATASETS.STATISTICS"),
    *("datasets.train", "datasets.test", "datasets.statistics"),
    *("dataloader.*.names", "dataloader.*.dataset_name"),
)


def present_dataset_name(name: str) -> str:
    """The present name of a built-in data set; another name as it is.

    An old name that a project has registered for its own data stays, too.
    """
    renamed = f"{DATASET_PREFIX}{name}"
    return renamed if name not in DatasetCatalog and renamed in DatasetCatalog else name


def present_value(key: str, value: Any) -> Any:
    """The value of a config key, with present names of data sets and of parts.

    Args:
        key: full name of the key, of a YAML config or of a Python config.
        value: its value. Only strings, and strings in a list or tuple, can be old names.
    """
    if isinstance(value, list | tuple):
        return type(value)(present_value(key, item) for item in value)
    if not isinstance(value, str):
        return value
    if any(fnmatchcase(key, pattern) for pattern in _NAMING_DATA_SETS):
        return present_dataset_name(value)
    return OLD_VALUES.get(value, value) if key in _SELECTING and value not in _SELECTING[key] else value


def present_settings(saved: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """The settings of a saved run under their present names.

    Args:
        saved: key -> value as JSON, see `RunParts.settings`. Other entries stay as they are.
        known: keys of today's config. An old key among them belongs to another project.
    """
    converted = {}
    for old, text in saved.items():
        key = old if old in known else OLD_KEYS.get(old, old)
        if key is not None:
            selects = key in _SELECTING or any(fnmatchcase(key, pattern) for pattern in _NAMING_DATA_SETS)
            converted[key] = json.dumps(present_value(key, json.loads(text))) if selects else text
    return converted
