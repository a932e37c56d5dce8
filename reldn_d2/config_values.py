"""What the values of settings may be: one table for configs in YAML, configs in Python and constructors.

`SETTINGS` has a row for every key that RelDN adds to Detectron2's config, and for the keys of Detectron2 that
every run reads. A config is checked before data are loaded (`check_keys`). A class that takes such a value
checks it, too (`check_arguments`), so that a project without a config gets the same message.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from numbers import Integral, Real
from os import PathLike
from typing import Any

#: Number of channels of the formats that a picture can be read in: two of Detectron2 ("BGR", "YUV-BT.601")
#: and PIL's modes of 8 bits a channel, without those of a palette and those that PIL makes of few others.
PICTURE_CHANNELS = {
    **{"BGR": 3, "RGB": 3, "L": 1, "YUV-BT.601": 3, "YCbCr": 3, "HSV": 3, "LAB": 3},
    **{"CMYK": 4, "LA": 2, "RGBA": 4, "RGBX": 4},
}
# Larger numbers do not fit into PyTorch's integers.
_LARGEST_WHOLE = 2**63 - 1
# A weight or rate above it is a mistake, and float32 may overflow.
_LARGEST_FACTOR = 1_000_000
# Largest seed of NumPy, less room for the number of a process.
_LARGEST_SEED = 4_000_000_000
# Longer values are cut in messages.
_SHOWN = 80


@dataclass(frozen=True)
class Values:
    """The possible values of a setting.

    Attributes:
        wanted: what they are in words, such as "a number above 0".
        holds: whether a value is one of them. It may be of any type.
    """

    wanted: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        key: key of configs in YAML, or a shell pattern of such keys; an argument that no key gives.
        values: the possible values.
        others: where else the value stands. "train.max_iter" is a key of configs in Python;
            "PairSampler.anchors_per_image" is an argument of a class or function.
    """

    key: str
    values: Values
    others: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _whole(least: int, most: int = _LARGEST_WHOLE, meaning: str = "") -> Values:
    limits = f"of {least:,} or more" if most == _LARGEST_WHOLE else f"from {least:,} to {most:,}"
    return Values(f"a whole number {limits}{meaning}", lambda x: _is_whole(x) and least <= x <= most)


def _number(least: int, most: int) -> Values:
    return Values(f"a number from {least:,} to {most:,}", lambda x: _is_number(x) and least <= x <= most)


def _one_of(*choices: str) -> Values:
    words = " or ".join(map(repr, choices))
    return Values(words, lambda x: isinstance(x, str) and x in choices)


def _list_of(item: Values, wanted: str, length: int | None = None, *, empty: bool = True) -> Values:
    def holds(value: Any) -> bool:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            return False
        values = list(value)
        right_length = len(values) == length if length is not None else empty or bool(values)
        return right_length and all(map(item.holds, values))

    return Values(wanted, holds)


def _or_none(values: Values) -> Values:
    return Values(f"{values.wanted}, or None", lambda x: x is None or values.holds(x))


def _are_steps(value: Any) -> bool:
    steps = list(value) if isinstance(value, list | tuple) else [-1]
    return all(map(_is_whole, steps)) and all(a < b for a, b in pairwise([-1, *steps, _LARGEST_WHOLE]))


def _is_norm(value: Any) -> bool:
    """Whether it is a number above 0, or infinity, which is a norm, too."""
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0


def _are_results(value: Any) -> bool:
    rows = value if isinstance(value, list | tuple) else [None]
    return all(
        isinstance(row, list | tuple)
        and [*map(type, row[:2])] == [str, str]
        and len(row) == 4
        and all(isinstance(x, Real) and not isinstance(x, bool) for x in row[2:])
        for row in rows
    )


_FLAG = Values("True or False", lambda x: isinstance(x, bool))
_TEXT = Values("a text", lambda x: isinstance(x, str))
_NAME = Values("a name", lambda x: isinstance(x, str) and x != "")
_NAMES = _list_of(_NAME, "a list of names")
_QUOTED_NAMES = _list_of(_NAME, "a list of names, in quotes where YAML reads more into them, such as 'on'")
_FILES = _list_of(_NAME, "a list of files")
_FACTOR = _number(0, _LARGEST_FACTOR)
_SHARE = _number(0, 1)
_DROPOUT = Values("a number from 0 to below 1", lambda x: _is_number(x) and 0 <= x < 1)
_AT_LEAST_0, _AT_LEAST_1 = _whole(0), _whole(1)
# Of 0 detections there would be no relationships.
_DETECTIONS = Values(
    "a whole number of 1 or more, or -1 for all", lambda x: _AT_LEAST_1.holds(x) or (_is_whole(x) and x == -1)
)
_CLASSES = _whole(1, 1_000_000)
_LIST_OF_SIZES = _list_of(_AT_LEAST_0, "a list of sizes in pixels (0: that of the picture)", empty=False)
_SIZES = Values(_LIST_OF_SIZES.wanted, lambda x: _AT_LEAST_0.holds(x) or _LIST_OF_SIZES.holds(x))
_FINITE = Values("a finite number", _is_number)
_ABOVE_0 = Values("a finite number above 0", lambda x: _is_number(x) and x > 0)
_UP_TO_1 = Values("a number above 0, at most 1", lambda x: _is_number(x) and 0 < x <= 1)
_RESULTS = Values("a list of lists [task, metric, value, tolerance]", _are_results)
_FORMAT = Values(
    f"a format of pictures: {', '.join(PICTURE_CHANNELS)}",
    lambda x: isinstance(x, str) and x in PICTURE_CHANNELS,
)
_FOLDER = Values("the name of a folder", lambda x: isinstance(x, str | PathLike) and str(x).strip() != "")

_HEAD = "MODEL.ROI_RELATION_HEAD"
_LOADERS = ("build_detection_train_loader", "build_resumable_train_loader")
_SAMPLERS = ("PairSampler", "PublishedPairSampler")
_TEST_LOADERS = ("build_detection_test_loader", "build_relation_test_loader")


def _of(argument: str, owners: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{owner}.{argument}" for owner in owners)


_OF_RELATION_HEAD = (
    Setting(f"{_HEAD}.NAME", _NAME),
    Setting(f"{_HEAD}.WEIGHTS", _TEXT),
    Setting(
        f"{_HEAD}.NUM_PREDICATES",
        _CLASSES,
        _of(
            "num_predicates",
            ("PairSampler", "PairwiseRelationHead", "SemanticModule", "SpatialModule", "VisualModule"),
        ),
    ),
    Setting(
        f"{_HEAD}.OVERLAP_ONLY",
        _FLAG,
        _of("overlap_only", (*_SAMPLERS, "PairwiseRelationHead", "predicate_counts")),
    ),
    Setting(f"{_HEAD}.FREEZE_NORM", _FLAG, ("RelDN.freeze_norm",)),
    Setting(f"{_HEAD}.SEMANTIC.ENABLED", _FLAG),
    Setting(f"{_HEAD}.SEMANTIC.LEARNABLE", _FLAG, ("SemanticModule.learnable",)),
    Setting(f"{_HEAD}.SEMANTIC.EPS", _SHARE, ("SemanticModule.eps",)),
    Setting(
        f"{_HEAD}.SEMANTIC.BACKGROUND_COUNT",
        _one_of("unrelated", "all"),
        ("predicate_counts.background_count",),
    ),
    Setting(f"{_HEAD}.SPATIAL.ENABLED", _FLAG),
    Setting(f"{_HEAD}.VISUAL.FUSED", _FLAG, ("VisualModule.fused",)),
    Setting(f"{_HEAD}.VISUAL.SUBJECT_SKIP", _FLAG, ("VisualModule.subject_skip",)),
    Setting(f"{_HEAD}.VISUAL.OBJECT_SKIP", _FLAG, ("VisualModule.object_skip",)),
    Setting(f"{_HEAD}.VISUAL.FEATURES_BEFORE_RELU", _FLAG),
    Setting(f"{_HEAD}.VISUAL.DROPOUT", _DROPOUT, ("VisualModule.dropout",)),
    Setting(f"{_HEAD}.LOSS.CROSS_ENTROPY_WEIGHT", _FACTOR, ("PairwiseRelationHead.cross_entropy_weight",)),
    Setting(f"{_HEAD}.LOSS.*.NAME", _NAME),
    Setting(f"{_HEAD}.LOSS.*.WEIGHT", _FACTOR, ("ContrastiveTerm.weight",)),
    # The affinities of the pairs lie between 0 and 1, and so does what can be between them.
    Setting(f"{_HEAD}.LOSS.*.MARGIN", _SHARE, ("ContrastiveTerm.margin",)),
    Setting(f"{_HEAD}.LOSS.*.BACKGROUND_IN_ARGMAX", _FLAG, ("PredicateClassTerm.background_in_argmax",)),
    Setting(
        f"{_HEAD}.LOSS.NORMALIZATION",
        _one_of("anchors", "published"),
        ("ContrastiveLosses.normalization",),
    ),
    Setting(f"{_HEAD}.SAMPLING.METHOD", _one_of("paper", "published")),
    Setting(f"{_HEAD}.SAMPLING.ENTITY_IOU_THRESHOLD", _UP_TO_1, ("RelDN.entity_iou_threshold",)),
    *(
        Setting(f"{_HEAD}.SAMPLING.{name.upper()}", _AT_LEAST_0, _of(name, _SAMPLERS))
        for name in ("batch_size_per_image", "positives_per_image", "anchors_per_image")
    ),
    Setting(f"{_HEAD}.SAMPLING.PARTNERS_PER_ANCHOR", _AT_LEAST_0, ("PairSampler.partners_per_anchor",)),
    Setting(f"{_HEAD}.TEST.TASK", _one_of("sgdet", "sgcls", "prdcls"), ("RelDN.task", "model.task")),
    Setting(f"{_HEAD}.TEST.TOP_K", _whole(1, 1_000_000), ("PairwiseRelationHead.top_k",)),
    Setting(
        f"{_HEAD}.TEST.CHUNK_SIZE",
        _whole(0, meaning=" (0: a size that suits the machine)"),
        ("PairwiseRelationHead.chunk_size",),
    ),
    Setting(f"{_HEAD}.TEST.PROTOCOLS", _NAMES, ("protocols_of_task.names",)),
    Setting(
        f"{_HEAD}.TEST.PREDICATES_PER_PAIR",
        _list_of(_AT_LEAST_1, "a list of whole numbers of 1 or more", empty=False),
        ("protocols_of_task.predicates_per_pair",),
    ),
    Setting(f"{_HEAD}.TEST.EXCLUDED_PREDICATES", _QUOTED_NAMES, ("protocols_of_task.excluded_predicates",)),
    Setting(f"{_HEAD}.TEST.CONFUSION_SUBSET", _FLAG, ("RelationEvaluator.confusion_subset",)),
)
_MORE_OF_RELDN = (
    Setting("DATASETS.CHECK", _one_of("error", "warn"), ("datasets.check",)),
    Setting("DATASETS.STATISTICS", _NAMES, ("datasets.statistics",)),
    Setting("DATASETS.DETECTION_FILES_TRAIN", _FILES, ("datasets.train_detections",)),
    Setting("DATASETS.DETECTION_FILES_TEST", _FILES, ("datasets.test_detections",)),
    Setting("TEST.IMS_PER_BATCH", _AT_LEAST_1, _of("batch_size", _TEST_LOADERS)),
    Setting("TEST.BEST_CHECKPOINT", _FLAG, ("train.best_checkpoint",)),
    Setting("TEST.SKIP_UNREADABLE", _FLAG, ("train.skip_unreadable",)),
    Setting(
        "SOLVER.PREDICATE_BACKBONE_LR_FACTOR",
        _FACTOR,
        ("relation_optimizer_params.predicate_backbone_lr_factor",),
    ),
    Setting("MODEL.RELDN_PRECISION", _one_of("fp32", "bf16"), ("train.precision",)),
    Setting("MODEL.RELDN_TIMM.NAME", _NAME),
    Setting("MODEL.RELDN_TIMM.FREEZE_NORM", _FLAG),
    Setting(
        "MODEL.RELDN_VGG.CHANNELS",
        _list_of(_AT_LEAST_1, "a list of five whole numbers of 1 or more", 5),
        ("VGG16.channels",),
    ),
    Setting("MODEL.RELDN_VGG.DROPOUT", _DROPOUT, ("RelDNVGGBoxHead.dropout",)),
)
_OF_DETECTRON2 = (
    Setting("OUTPUT_DIR", _FOLDER, ("train.output_dir",)),
    Setting(
        "MODEL.PIXEL_MEAN", _list_of(_FINITE, "a list of finite numbers", empty=False), ("model.pixel_mean",)
    ),
    Setting(
        "MODEL.PIXEL_STD",
        _list_of(_ABOVE_0, "a list of finite numbers above 0", empty=False),
        ("model.pixel_std",),
    ),
    Setting("MODEL.ROI_HEADS.NUM_CLASSES", _CLASSES, ("ROIHeads.num_classes", "SemanticModule.num_classes")),
    Setting("MODEL.RETINANET.NUM_CLASSES", _CLASSES, ("RetinaNet.num_classes",)),
    # Below 0, every score is above it; above 1, none is.
    Setting("MODEL.ROI_HEADS.SCORE_THRESH_TEST", _FINITE, ("FastRCNNOutputLayers.test_score_thresh",)),
    Setting("TEST.DETECTIONS_PER_IMAGE", _DETECTIONS, ("FastRCNNOutputLayers.test_topk_per_image",)),
    Setting("INPUT.FORMAT", _FORMAT, ("RelationDatasetMapper.image_format", "DatasetMapper.image_format")),
    Setting("INPUT.MIN_SIZE_TRAIN", _SIZES, ("ResizeShortestEdge.short_edge_length",)),
    Setting("INPUT.MAX_SIZE_TRAIN", _AT_LEAST_1, ("ResizeShortestEdge.max_size",)),
    Setting(
        "INPUT.MIN_SIZE_TRAIN_SAMPLING", _one_of("choice", "range"), ("ResizeShortestEdge.sample_style",)
    ),
    Setting("INPUT.MIN_SIZE_TEST", _whole(0, meaning=" pixels (0: the size of the picture)")),
    Setting("INPUT.MAX_SIZE_TEST", _whole(1, meaning=" pixels")),
    Setting("INPUT.RELDN_RESIZE_TEST", _one_of("sides", "factor")),
    Setting("INPUT.RANDOM_FLIP", _one_of("none", "horizontal", "vertical")),
    Setting("INPUT.CROP.ENABLED", _FLAG),
    Setting("INPUT.CROP.TYPE", _one_of("relative", "relative_range", "absolute", "absolute_range")),
    Setting("INPUT.CROP.SIZE", _list_of(_ABOVE_0, "two numbers above 0, (height, width)", 2)),
    Setting("DATASETS.TRAIN", _NAMES, ("datasets.train",)),
    Setting("DATASETS.TEST", _NAMES),
    Setting("DATALOADER.NUM_WORKERS", _whole(0, 10_000), _of("num_workers", (*_LOADERS, *_TEST_LOADERS))),
    Setting("DATALOADER.REPEAT_THRESHOLD", _SHARE, ("predicate_repeat_factors.threshold",)),
    Setting("SOLVER.IMS_PER_BATCH", _whole(1, 65_536), _of("total_batch_size", _LOADERS)),
    Setting("SOLVER.MAX_ITER", _AT_LEAST_1, ("train.max_iter",)),
    Setting("SOLVER.BASE_LR", _FACTOR, ("optimizer.lr",)),
    Setting("SOLVER.STEPS", Values("a list of rising whole numbers of 0 or more", _are_steps)),
    Setting("SOLVER.GAMMA", _FACTOR),
    Setting("SOLVER.MOMENTUM", _DROPOUT, ("optimizer.momentum",)),
    Setting("SOLVER.WEIGHT_DECAY", _FACTOR, ("optimizer.weight_decay",)),
    Setting("SOLVER.WEIGHT_DECAY_NORM", _or_none(_FACTOR), ("relation_optimizer_params.weight_decay_norm",)),
    Setting("SOLVER.WEIGHT_DECAY_BIAS", _or_none(_FACTOR), ("relation_optimizer_params.weight_decay_bias",)),
    Setting("SOLVER.BIAS_LR_FACTOR", _FACTOR, ("relation_optimizer_params.bias_lr_factor",)),
    Setting("SOLVER.WARMUP_ITERS", _AT_LEAST_0),
    Setting("SOLVER.WARMUP_FACTOR", _SHARE, ("lr_multiplier.warmup_factor",)),
    Setting("SOLVER.WARMUP_METHOD", _one_of("linear", "constant"), ("lr_multiplier.warmup_method",)),
    Setting("SOLVER.CLIP_GRADIENTS.ENABLED", _FLAG),
    Setting("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", _one_of("value", "norm")),
    Setting("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", _ABOVE_0),
    Setting("SOLVER.CLIP_GRADIENTS.NORM_TYPE", Values("a number above 0", _is_norm)),
    Setting("SOLVER.CHECKPOINT_PERIOD", _AT_LEAST_1, ("train.checkpointer.period",)),
    Setting("TEST.EXPECTED_RESULTS", _RESULTS),
    Setting("TEST.EVAL_PERIOD", _AT_LEAST_0, ("train.eval_period",)),
    Setting(
        "SEED",
        Values(
            f"a whole number up to {_LARGEST_SEED:,} (negative: one is drawn)",
            lambda x: _is_whole(x) and -_LARGEST_WHOLE <= x <= _LARGEST_SEED,
        ),
        ("train.seed",),
    ),
)
#: The table: keys of the relation head, other keys of RelDN, keys of Detectron2.
SETTINGS: tuple[Setting, ...] = (*_OF_RELATION_HEAD, *_MORE_OF_RELDN, *_OF_DETECTRON2)

_BY_NAME = {name: setting for setting in SETTINGS for name in (setting.key, *setting.others)}
_PATTERNS = [setting for setting in SETTINGS if "*" in setting.key]


def find_setting(name: str) -> Setting | None:
    """The row of a key of either kind of config, or of an argument "Class.argument"; None if it has none."""
    found = _BY_NAME.get(name)
    return found or next((x for x in _PATTERNS if fnmatchcase(name, x.key)), None)


def refusal(name: str, value: Any, values: Values) -> str:
    """What is wrong with a value, and what to write instead."""
    if isinstance(value, str) and values.holds([value]):
        return string_for_list(name, value)
    text = repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{name} is {shown}: give {values.wanted}"


def string_for_list(name: str, value: str) -> str:
    """What is wrong with a text where a list of texts is wanted: it would be a list of its letters."""
    return (
        f"{name} takes a list, but is the string {value!r}. Write ['{value}'], or ('{value}',) with a comma"
    )


def check_keys(values: Iterable[tuple[str, Any]], source: str = "") -> None:
    """Checks the values of keys that have a row in the table.

    Args:
        values: keys of a config of either kind, and their values.
        source: what the config is of, such as "reldn.yaml: ", at the beginning of a message.

    Raises:
        ValueError: a value is none of the possible ones. The message names key, value and what is possible.
    """
    for key, value in values:
        setting = find_setting(key)
        if setting is not None and not setting.values.holds(value):
            raise ValueError(f"{source}{refusal(key, value, setting.values)}")


def check_arguments(owner: str, **arguments: Any) -> None:
    """Checks arguments of a constructor or function that have a row in the table.

    Args:
        owner: name of the class or function, as in the table.
        arguments: the values.

    Raises:
        ValueError: a value is none of the possible ones. The message names the argument and the config key.
    """
    for name, value in arguments.items():
        setting = _BY_NAME[f"{owner}.{name}"]
        if not setting.values.holds(value):
            in_config = f" (in a config: {setting.key})" if setting.others else ""
            raise ValueError(f"{refusal(f'{name} of {owner}', value, setting.values)}{in_config}")


def check_channels(
    image_format: str, mean: Sequence[float], std: Sequence[float], names: Sequence[str]
) -> None:
    """Checks that the settings of a picture's channels fit together.

    Args:
        image_format: a key of `PICTURE_CHANNELS`.
        mean, std: numbers that a pixel is normalised with.
        names: keys of the three, for the message.

    Raises:
        ValueError: there is not one mean and one deviation for each channel.
    """
    channels, (of_format, of_mean, of_std) = PICTURE_CHANNELS[image_format], names
    if len(std) != len(mean):
        raise ValueError(f"{of_std} is {std}: give a number for each of {of_mean}, {mean}")
    if channels != len(mean):
        raise ValueError(
            f"{of_format} is {image_format!r}, whose number of channels is {channels}, but {of_mean} has "
            f"{len(mean)} numbers: give 'BGR' or 'RGB', or as many numbers as channels in {of_mean} and "
            f"{of_std}"
        )
