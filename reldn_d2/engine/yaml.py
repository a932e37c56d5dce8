"""Configs in YAML: reads them and makes the parts that they describe."""

import logging
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode, downgrade_config, upgrade_config
from detectron2.config.compat import guess_version
from detectron2.engine import hooks
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
    GeneralizedRCNN,
    RetinaNet,
)
from detectron2.utils import comm
from fvcore.common.registry import Registry
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from reldn_d2.config import default_config
from reldn_d2.config_values import check_channels, check_keys, find_setting, string_for_list
from reldn_d2.data import RelationDatasetMapper, predicate_counts
from reldn_d2.evaluation.protocols.registry import resolve_protocols
from reldn_d2.modeling import (
    ContrastiveLosses,
    PairwiseRelationHead,
    PublishedRelDN,
    RelDN,
    RelDNHead,
)
from reldn_d2.modeling.published import refuse_published_parts
from reldn_d2.modeling.relation_head import registered_head
from reldn_d2.renamed import OLD_KEYS, present_value
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.structures.predicate_counts import PredicateCounts
from reldn_d2.utils.io import write_if_changed

from .config_files import similar_keys
from .datasets import check_keypoint_names, load_registered
from .parts import KeyNames, RunParts
from .places import YAML_PLACES, refuse_places, say_unused
from .protocols import check_protocol_names, chosen_protocols
from .run_identity import BOUND_YAML_KEYS, flatten, free_patterns, matches

if TYPE_CHECKING:
    from .relation_training import RelationTraining

logger = logging.getLogger(__name__)

# Top-level names of a config in Python.
_PYTHON_PARTS = ("model", "datasets", "dataloader", "optimizer", "lr_multiplier", "train")
# Keys whose values fit only the data sets of a config.
_KEYS_OF_DATA = (
    "DATASETS.DETECTION_FILES_TRAIN",
    "DATASETS.DETECTION_FILES_TEST",
    "TEST.EXPECTED_RESULTS",
    "MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS",
    "MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES",
)
# How messages call a word of the command line.
_OVERRIDE = "the override"
# What the values of keys of other types are in words.
_TYPES = {
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number with a decimal point, such as 1.0",
    "str": "a text",
    "tuple": "a list, such as (1, 2)",
    "list": "a list, such as [1, 2]",
}
# The registries of the keys that a detector reads.
_OF_R_CNNS = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
}
_OF_RPN = {
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
}
_OF_RETINANET = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
}
# Names that are in no registry: Detectron2 makes nothing for them.
_NO_PARTS = {"MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals", "MODEL.ROI_BOX_HEAD.NAME": ""}
# Iterations between two log lines, as in Detectron2's DefaultTrainer.
_LOG_PERIOD = 20


def make_yaml_config(
    content: Mapping[str, Any],
    config_file: str,
    opts: list[str] | None = None,
    *,
    beside_weights: bool = False,
) -> CfgNode:
    """Merges the defaults (`default_config`), the content of a file and overrides, in this order. Not frozen.

    Keys and names of earlier releases are converted, with one warning.

    Args:
        content: the result of `read_config_file`.
        config_file: the file, for messages.
        opts: overrides, a flat list of keys and values.
        beside_weights: whether the file was found beside weights: then `YAML_PLACES` keep their defaults.

    Raises:
        ValueError: a key does not exist, a value has another type or is not possible (`SETTINGS`), or the
            file lies beside weights and names a place. The message names the file or the override.
    """
    cfg = default_config()
    defaults = cfg.clone()
    known = [key for key, _ in flatten(cfg)]
    added = _add_old_keys(cfg)
    try:
        _merge(cfg, content, config_file)
    except KeyError as error:
        raise ValueError(_unknown_key(config_file, error, known)) from error
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{config_file} can't be read as a config of Detectron2: {_readable(error)}"
        ) from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(
            f"{config_file}: {_too_nested(content)} is nested too deeply: correct this value"
        ) from error
    converted = _convert_old_keys(cfg, added)
    _warn_of_old_names(config_file, converted + _convert_old_values(cfg, [key for key, _ in flatten(cfg)]))
    check_keys(_leaves(cfg), f"{config_file}: ")
    if beside_weights:
        say_unused({key: _get(cfg, key) for key in YAML_PLACES}, config_file)
        for key in YAML_PLACES:
            _set(cfg, key, _get(defaults, key))
        refuse_places(_differing(cfg, defaults), config_file)
    override_yaml_config(cfg, opts or [])
    return cfg


def _merge(cfg: CfgNode, content: Mapping[str, Any], config_file: str) -> None:
    """Merges the content of a file as Detectron2's `merge_from_file` does, also one of an old VERSION."""
    _refuse_other_keys(content)
    for key, value in content.items():
        if isinstance(cfg.get(key), CfgNode) and not isinstance(value, Mapping):
            raise ValueError(_mismatch("CfgNode", "", "", repr(value), key))
    loaded = CfgNode(dict(content))
    version = loaded.get("VERSION", None)
    if version is None:
        version = guess_version(loaded, config_file)
    if type(version) is not int or not 1 <= version <= cfg.VERSION:
        raise ValueError(f"VERSION is {version!r}, but this Detectron2 reads 1 to {cfg.VERSION}")
    if version == cfg.VERSION:
        cfg.merge_from_other_cfg(loaded)
        return
    logger.warning("%s is of VERSION %d and is read as VERSION %d", config_file, version, cfg.VERSION)
    old = downgrade_config(cfg, to_version=version)
    old.merge_from_other_cfg(loaded)
    new = upgrade_config(old)
    cfg.clear()
    cfg.update(new)


def _too_nested(content: Mapping[str, Any]) -> str:
    """The full name of the key whose text is too much for Python's parser, by which yacs reads texts."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            inner = _too_nested(value)
            if inner:
                return f"{key}.{inner}"
        elif isinstance(value, str):
            try:
                literal_eval(value)
            except (MemoryError, RecursionError):
                return key
            except (SyntaxError, TypeError, ValueError):  # a text like any other
                continue
    return ""


def _refuse_other_keys(content: Mapping[Any, Any]) -> None:
    for key, value in content.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} is no text")
        if isinstance(value, Mapping):
            _refuse_other_keys(value)


def _leaves(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names of all keys, and their values."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _differing(cfg: CfgNode, defaults: CfgNode) -> dict[str, Any]:
    """The values that are not as in the defaults, by full name."""
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        default = defaults.get(key)
        if isinstance(value, CfgNode):
            inner = default if isinstance(default, CfgNode) else CfgNode()
            found |= {f"{key}.{name}": x for name, x in _differing(value, inner).items()}
        elif key not in defaults or value != default:
            found[str(key)] = value
    return found


def override_yaml_config(cfg: CfgNode, opts: list[str]) -> None:
    """Applies overrides to a config. Keys and names of earlier releases are converted, with one warning.

    Args:
        cfg: a config that is not frozen.
        opts: a flat list of keys and values.

    Raises:
        ValueError: a key has no value or does not exist, or a value has another type or is not possible
            (`SETTINGS`). The message names the override.
    """
    if len(opts) % 2:
        raise ValueError(
            f"overrides of a YAML config are pairs KEY VALUE, but these are {len(opts)} words: "
            f"{' '.join(opts)}"
        )
    converted: list[str] = []
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        is_old = key in OLD_KEYS and not _has(cfg, key)
        if is_old:
            converted.append(_new_key_of(key))
        today = OLD_KEYS[key] if is_old else key
        if today is None:
            continue
        try:
            cfg.merge_from_list([today, value])
        except (AssertionError, KeyError) as error:
            known = [name for name, _ in flatten(cfg)]
            raise ValueError(_unknown_key(_OVERRIDE, KeyError(key), known)) from error
        except ValueError as error:
            raise ValueError(f"override {key} {value}: {_readable(error)}") from error
        converted += _convert_old_values(cfg, [today])
        check_keys([(today, _get(cfg, today))], f"{_OVERRIDE} ")
    _warn_of_old_names("an override", converted)


def _warn_of_old_names(source: str, converted: list[str]) -> None:
    """Says what names of an earlier release were converted to. Without names it says nothing."""
    if converted:
        logger.warning(
            "%s has names of an earlier release, which were converted: %s", source, "; ".join(converted)
        )


def _new_key_of(old: str) -> str:
    """What a warning says about an old key."""
    new = OLD_KEYS[old]
    return f"{old} (now {new})" if new else f"{old} (has no effect any more)"


def _add_old_keys(cfg: CfgNode) -> list[str]:
    """Adds the old keys without a value, so that a file may have them. Keys of another project stay its own.

    Returns:
        The added keys.
    """
    added = []
    for old in OLD_KEYS:
        node, _, name = old.rpartition(".")
        if not _has(cfg, node):
            _set(cfg, node, CfgNode())
        if name not in _get(cfg, node) and not _get(cfg, node).is_new_allowed():
            _set(cfg, old, None)
            added.append(old)
    return added


def _convert_old_keys(cfg: CfgNode, added: list[str]) -> list[str]:
    """Moves the values of old keys to their present names, and removes what `_add_old_keys` added.

    Returns:
        A description of each old key that had a value.
    """
    described = []
    for old in added:
        value, new = _get(cfg, old), OLD_KEYS[old]
        if value is not None:
            described.append(_new_key_of(old))
            if new:
                _set(cfg, new, value)
        node, _, name = old.rpartition(".")
        del _get(cfg, node)[name]
        if not _get(cfg, node):
            del _get(cfg, node.rpartition(".")[0])[node.rpartition(".")[2]]
    return described


def _convert_old_values(cfg: CfgNode, keys: list[str]) -> list[str]:
    """Replaces old names of parts and data sets in the values of these keys.

    Returns:
        A description of each key that had an old name.
    """
    described = []
    for key in keys:
        value = _get(cfg, key)
        present = present_value(key, value)
        if present is not value and present != value:  # NaN differs from itself
            described.append(f"{key} {_in_words(value)} (now {_in_words(present)})")
            _set(cfg, key, present)
    return described


def _in_words(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value))


def _has(cfg: CfgNode, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(cfg, CfgNode) or name not in cfg:
            return False
        cfg = cfg[name]
    return True


def _get(cfg: CfgNode, key: str) -> Any:
    """The value of a key; the config itself for an empty key."""
    for name in filter(None, key.split(".")):
        cfg = cfg[name]
    return cfg


def _set(cfg: CfgNode, key: str, value: Any) -> None:
    node, _, name = key.rpartition(".")
    _get(cfg, node)[name] = value


def _readable(error: Exception) -> str:
    """The message of an error about a value, on one line."""
    reason = " ".join(str(error).split())
    mismatch = re.search(
        r"<class '([\w.]+)'> vs\. <class '([\w.]+)'>\) with values \((.*) vs\. (.*)\) for config key: (\S+)",
        reason,
    )
    return reason if mismatch is None else _mismatch(*mismatch.groups())


def _mismatch(old_type: str, new_type: str, old: str, new: str, key: str) -> str:
    """Says which value a key takes, from the types and values in a message of yacs."""
    if old_type.endswith("CfgNode"):
        return f"{key} is {new}, but it has keys of its own: write the full name of one of them"
    if new_type.endswith("CfgNode"):
        return f"{key} has the keys {new}, but takes a value such as {old}"
    if old_type in ("tuple", "list") and new_type == "str":
        return string_for_list(key, new)
    setting = find_setting(key)
    wanted = _TYPES.get(old_type, old_type) if setting is None else setting.values.wanted
    decimal = f", written as {new}.0" if (old_type, new_type) == ("float", "int") else ""
    given = repr(new) if new_type == "str" else new
    return f"{key} is {given}: give {wanted}{decimal}"


def _saved_by_python(source: str) -> str:
    return (
        f"{source} was saved by a run of a Python config: give that config, whose name ends in .py, instead"
    )


def _unknown_key(source: str, error: KeyError, known: list[str]) -> str:
    key = re.sub(r"^Non-existent (config )?key: ", "", str(error.args[0]))
    if source != _OVERRIDE and key.partition(".")[0] in _PYTHON_PARTS:
        return _saved_by_python(source)
    if key in known:  # in a file
        nested = f"{key.replace('.', ': {')}: VALUE{'}' * key.count('.')}"
        return f"{source} has the key {key} in one line: write {nested}"
    near = similar_keys(key, known)
    similar = (
        f": did you mean {' or '.join(near)}?"
        if near
        else "; reldn_d2/config.py and Detectron2's documentation list the keys."
    )
    return (
        f"{source} has the key {key}, which does not exist{similar} If the key is of another project, "
        "--import the module that registers it (reldn_d2.register_config)"
    )


def _schedule_in_words(solver: CfgNode) -> str:
    words = [solver.LR_SCHEDULER_NAME]
    steps = [str(step) for step in solver.STEPS if step <= solver.MAX_ITER]
    if "Step" in solver.LR_SCHEDULER_NAME and steps:
        words.append(f"times {solver.GAMMA:g} at {', '.join(steps)}")
    if solver.WARMUP_ITERS:
        # Detectron2 ends a longer warm-up with the training.
        cut = f" (SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} is cut)"
        is_cut = solver.WARMUP_ITERS > solver.MAX_ITER
        warm_up = min(solver.WARMUP_ITERS, solver.MAX_ITER)
        words.append(f"warm-up of {warm_up} iterations{cut if is_cut else ''}")
    return ", ".join(words)


@contextmanager
def _explaining_unregistered() -> Iterator[None]:
    """Explains the error of Detectron2's registries for a name that they don't have."""
    try:
        yield
    except KeyError as error:
        text = str(error.args[0]) if error.args else ""
        if not text.startswith("No object named"):
            raise
        raise ValueError(
            f"the config names a part that is not registered ({text}): correct the name, or --import the "
            "module that registers it"
        ) from error


def _check_registered(cfg: CfgNode) -> None:
    """Checks the names of a detector's parts.

    Raises:
        ValueError: a name is not registered. The message names the key and similar names.
    """
    model, registries = cfg.MODEL, dict[str, Registry]()
    _refuse_unregistered(cfg, {"MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY})
    # Other meta-architectures read keys of their own.
    if _is_kind(cfg, GeneralizedRCNN):
        registries |= _OF_R_CNNS
        registries |= _OF_RPN if model.PROPOSAL_GENERATOR.NAME in ("RPN", "RRPN") else {}
        registries |= {"MODEL.ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY} if model.MASK_ON else {}
        keypoints = {"MODEL.ROI_KEYPOINT_HEAD.NAME": ROI_KEYPOINT_HEAD_REGISTRY}
        registries |= keypoints if model.KEYPOINT_ON else {}
    elif _is_kind(cfg, RetinaNet):
        registries |= _OF_RETINANET
    _refuse_unregistered(cfg, registries)


def _refuse_unregistered(cfg: CfgNode, registries: Mapping[str, Registry]) -> None:
    for key, registry in registries.items():
        name = _get(cfg, key)
        if name in registry or name == _NO_PARTS.get(key):
            continue
        known = sorted(x for x, _ in registry)
        near = get_close_matches(str(name), known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"registered are {', '.join(known)}"
        raise ValueError(
            f"the config names a part that is not registered ({key} is {name!r}; {hint}): correct the name, "
            "or --import the module that registers it"
        )


def is_relation_config(cfg: CfgNode) -> bool:
    """Whether the config describes RelDN (stage 2), or a meta-architecture derived from it."""
    return _is_kind(cfg, RelDN)


def _is_kind(cfg: CfgNode, kind: type[nn.Module]) -> bool:
    with _explaining_unregistered():
        # The registry also takes functions.
        registered = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    return isinstance(registered, type) and issubclass(registered, kind)


def _trains(cfg: CfgNode) -> bool:
    """Whether a relation head has more than a frozen semantic table. True if it is not RelDN's own."""
    head = registered_head(cfg)
    own = isinstance(head, type) and issubclass(head, RelDNHead)
    return not own or RelDNHead.trains_with(cfg)


def _check_pictures(cfg: CfgNode) -> None:
    """Checks keys of pictures that must fit together."""
    data = cfg.INPUT
    sizes, reason = data.MIN_SIZE_TRAIN, ""
    if data.MIN_SIZE_TRAIN_SAMPLING == "range" and not isinstance(sizes, int) and len(sizes) != 2:
        reason = (
            f"INPUT.MIN_SIZE_TRAIN is {sizes}: give two sizes, or set "
            "INPUT.MIN_SIZE_TRAIN_SAMPLING to 'choice'"
        )
    elif data.CROP.ENABLED and "relative" in data.CROP.TYPE and max(data.CROP.SIZE) > 1:
        reason = (
            f"INPUT.CROP.SIZE is {data.CROP.SIZE}: give shares of the picture, up to 1, or set "
            "INPUT.CROP.TYPE to 'absolute'"
        )
    if reason:
        raise ValueError(reason)
    keys = ("INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
    check_channels(data.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, keys)


def _check_losses(cfg: CfgNode) -> None:
    """Makes the losses of a head that scores pairs, since LOSS may have blocks and keys of any name."""
    head = registered_head(cfg)
    if isinstance(head, type) and issubclass(head, PairwiseRelationHead):
        ContrastiveLosses(cfg)


def _unread_keys(cfg: CfgNode) -> tuple[str, ...]:
    """The keys of the paper's sampling alone that are not the default, if another one is chosen."""
    sampling = cfg.MODEL.ROI_RELATION_HEAD.SAMPLING
    if sampling.METHOD == "paper":
        return ()
    default = default_config().MODEL.ROI_RELATION_HEAD.SAMPLING
    keys = ("ENTITY_IOU_THRESHOLD", "PARTNERS_PER_ANCHOR")
    changed = [key for key in keys if sampling[key] != default[key]]
    return tuple(f"MODEL.ROI_RELATION_HEAD.SAMPLING.{key}" for key in changed)


def yaml_class_counts(cfg: CfgNode) -> dict[str, tuple[str, int]]:
    """The config keys that hold the numbers of classes, and their values, see `RunParts.class_counts`."""
    counts = {}
    # Other meta-architectures read keys of their own.
    for kind, part in ((GeneralizedRCNN, "ROI_HEADS"), (RetinaNet, "RETINANET")):
        if _is_kind(cfg, kind):
            counts["thing_classes"] = (f"MODEL.{part}.NUM_CLASSES", cfg.MODEL[part].NUM_CLASSES)
    if is_relation_config(cfg):
        number = cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
        counts["predicate_classes"] = ("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", number)
    return counts


def count_predicates(cfg: CfgNode, dataset_dicts: list[DatasetDict]) -> PredicateCounts:
    """Counts the predicates of these images with the settings of the config.

    Returns:
        (C, C, P+1) counts.

    Raises:
        ValueError: an annotation has a class or predicate that the config does not have.
    """
    head = cfg.MODEL.ROI_RELATION_HEAD
    return predicate_counts(
        dataset_dicts,
        cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        head.NUM_PREDICATES,
        overlap_only=head.OVERLAP_ONLY,
        background_count=head.SEMANTIC.BACKGROUND_COUNT,
    )


class _FirstBatches:
    """The first batches of a loader, again and again, so that a resumed run has the same statistics."""

    def __init__(self, loader: Iterable[Any], number: int) -> None:
        self._loader, self._number = loader, number

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from islice(self._loader, self._number)


class YamlParts(RunParts):
    """The parts that a YAML config describes. The class methods of a trainer make them, as in Detectron2."""

    is_python = False
    keys = KeyNames(
        output_dir="OUTPUT_DIR",
        device="MODEL.DEVICE",
        precision="MODEL.RELDN_PRECISION",
        seed="SEED",
        train_datasets="DATASETS.TRAIN",
        test_datasets="DATASETS.TEST",
        weights="MODEL.WEIGHTS",
        relation_weights="MODEL.ROI_RELATION_HEAD.WEIGHTS",
        use_amp="SOLVER.AMP.ENABLED",
        entities_from_proposals="MODEL.ROI_RELATION_HEAD.SAMPLING.METHOD 'published'",
        train_detections="DATASETS.DETECTION_FILES_TRAIN",
        task="MODEL.ROI_RELATION_HEAD.TEST.TASK",
        protocols="MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS",
        confusion_subset="MODEL.ROI_RELATION_HEAD.TEST.CONFUSION_SUBSET",
        max_iter="SOLVER.MAX_ITER",
        batch_size="SOLVER.IMS_PER_BATCH",
        base_lr="SOLVER.BASE_LR",
        clip_gradients="SOLVER.CLIP_GRADIENTS.ENABLED True",
        eval_period="TEST.EVAL_PERIOD",
        best_checkpoint="TEST.BEST_CHECKPOINT",
        skip_unreadable="TEST.SKIP_UNREADABLE",
        masks="MODEL.MASK_ON",
        keypoints="MODEL.KEYPOINT_ON",
    )

    def __init__(self, cfg: CfgNode, trainer: "type[RelationTraining]") -> None:
        """Reads the settings of a config.

        Args:
            cfg: config of either stage.
            trainer: class whose methods `build_model`, `build_optimizer` and so on make the parts.

        Raises:
            ValueError: a value is not possible (`SETTINGS`), or the config names a part that is not
                registered, or parts of the published code in RelDN.
        """
        check_keys(_leaves(cfg))  # code may have changed it
        self.cfg, self._trainer = cfg, trainer
        head = cfg.MODEL.ROI_RELATION_HEAD
        self.output_dir, self.device, self.seed = cfg.OUTPUT_DIR, cfg.MODEL.DEVICE, cfg.SEED
        self.precision = cfg.MODEL.RELDN_PRECISION
        self.weights, self.relation_weights = cfg.MODEL.WEIGHTS, head.WEIGHTS
        self.train_datasets = tuple(cfg.DATASETS.TRAIN)
        self.test_datasets = tuple(cfg.DATASETS.TEST)
        self.statistics_datasets = tuple(cfg.DATASETS.STATISTICS)
        _check_pictures(cfg)
        _check_registered(cfg)
        self.is_relation_model = is_relation_config(cfg)
        if self.is_relation_model:
            if not _is_kind(cfg, PublishedRelDN):
                refuse_published_parts(cfg)
            _check_losses(cfg)
            check_protocol_names(head.TEST.PROTOCOLS, self.keys.protocols)
        self.entities_from_proposals = head.SAMPLING.METHOD == "published"
        self.unread_keys = _unread_keys(cfg)
        self.has_training = not self.is_relation_model or _trains(cfg)
        self.has_train_detections = bool(cfg.DATASETS.DETECTION_FILES_TRAIN)
        trains_more = not self.is_relation_model
        self.trained_masks = cfg.INPUT.MASK_FORMAT if trains_more and cfg.MODEL.MASK_ON else ""
        keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        self.trained_keypoints = keypoints if trains_more and cfg.MODEL.KEYPOINT_ON else 0
        self.use_amp = cfg.SOLVER.AMP.ENABLED
        self.max_iter, self.eval_period = cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD
        self.batch_size, self.base_lr = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR
        self.schedule = _schedule_in_words(cfg.SOLVER)
        self.best_checkpoint = cfg.TEST.BEST_CHECKPOINT
        self.test_detections = tuple(cfg.DATASETS.DETECTION_FILES_TEST)
        self.data_check = cfg.DATASETS.CHECK
        self.skip_unreadable = cfg.TEST.SKIP_UNREADABLE
        self.log_period = _LOG_PERIOD
        self.checkpoint_options = {"period": cfg.SOLVER.CHECKPOINT_PERIOD}
        self.ddp_options = {"broadcast_buffers": False}
        self.cudnn_benchmark = cfg.CUDNN_BENCHMARK

    @classmethod
    def override(cls, key: str, value: object) -> list[str]:
        """Two words, KEY VALUE. A list is written as a tuple."""
        return [key, str(tuple(value)) if isinstance(value, list) else str(value)]

    @staticmethod
    def overridden_keys(opts: Sequence[str]) -> set[str]:
        """Every other word."""
        return set(opts[::2])

    def set_key(self, key: str, value: Any) -> None:
        """Sets the key whatever the type of its value was."""
        _set(self.cfg, key, value)

    def data_sets_settings(self, train: str | None, test: str | None) -> dict[str, Any]:
        """DATASETS.TRAIN and DATASETS.TEST; the semantic table is counted over the training set."""
        names = {"TRAIN": train, "TEST": test, "STATISTICS": None}
        return {f"DATASETS.{key}": () if name is None else (name,) for key, name in names.items()}

    def settings_for_other_data(self) -> dict[str, Any]:
        """Precomputed detections, expected results, protocols and their excluded predicates."""
        defaults = default_config()
        return {key: _get(defaults, key) for key in _KEYS_OF_DATA}

    def scaled_to(self, num_processes: int) -> "YamlParts":
        """The config for this number of processes, if SOLVER.REFERENCE_WORLD_SIZE is set.

        Raises:
            ValueError: SOLVER.IMS_PER_BATCH can't be divided among that many processes.
        """
        batch, reference = self.batch_size, self.cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference not in (0, num_processes) and batch % reference:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {batch}, and is no multiple of SOLVER.REFERENCE_WORLD_SIZE "
                f"{reference}, the number of processes that the config is written for: set "
                "SOLVER.REFERENCE_WORLD_SIZE 0, then batch, learning rate and steps are taken as they are"
            )
        return YamlParts(self._trainer.auto_scale_workers(self.cfg, num_processes), self._trainer)

    def settings(self) -> dict[str, str]:
        """Every key of the config and its value as JSON."""
        return dict(flatten(self.cfg))

    def free_keys(self) -> tuple[str, ...]:
        """The keys that match `FREE_KEYS`."""
        precise_bn = self.cfg.TEST.PRECISE_BN.ENABLED
        bound = (*BOUND_YAML_KEYS, "TEST.EVAL_PERIOD") if precise_bn else BOUND_YAML_KEYS
        patterns = free_patterns("yaml")
        free = (key for key in self.settings() if matches(key, patterns) and not matches(key, bound))
        return tuple(free)

    def length_keys(self) -> tuple[str, ...]:
        """SOLVER.MAX_ITER."""
        return (self.keys.max_iter,)

    def save(self, path: Path) -> None:
        """Writes the config as a YAML file."""
        write_if_changed(path, self.cfg.dump().encode())

    def detector_settings(self) -> Any:
        """MODEL without the relation head, the weights' path and the device; INPUT; DETECTIONS_PER_IMAGE.

        The usual precision is not named, as in earlier releases.
        """
        used = self.cfg.clone()
        used.defrost()
        del used.MODEL["ROI_RELATION_HEAD"]
        if self.precision == "fp32":
            del used.MODEL["RELDN_PRECISION"]
        used.MODEL.WEIGHTS = used.MODEL.DEVICE = ""
        return [used.MODEL, used.INPUT, used.TEST.DETECTIONS_PER_IMAGE]

    def class_counts(self) -> Mapping[str, tuple[str, int]]:
        """The NUM_CLASSES of the detector, and NUM_PREDICATES for RelDN."""
        return yaml_class_counts(self.cfg)

    def training_data(self) -> list[DatasetDict]:
        """Loads DATASETS.TRAIN with DATASETS.DETECTION_FILES_TRAIN."""
        files = self.cfg.DATASETS.DETECTION_FILES_TRAIN
        if self.trained_keypoints:
            check_keypoint_names(self.train_datasets)
        return load_registered(self.train_datasets, files, self.data_check)

    def predicate_counts(self, training_data: list[DatasetDict] | None = None) -> PredicateCounts:
        """Counts DATASETS.STATISTICS if it names data sets, otherwise the training data."""
        if training_data is None or self.statistics_datasets:
            names = self.statistics_datasets or self.train_datasets
            training_data = load_registered(names, check=self.data_check)
        return count_predicates(self.cfg, training_data)

    def model(self) -> nn.Module:
        """Calls the trainer's `build_model`."""
        self.check_device()
        with _explaining_unregistered():
            model: nn.Module = self._trainer.build_model(self.cfg)
        return model

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Calls the trainer's `build_optimizer`."""
        return self._trainer.build_optimizer(self.cfg, model)

    def lr_scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        """Calls the trainer's `build_lr_scheduler`.

        Raises:
            ValueError: there is no such schedule, or it does not fit the length of the training.
        """
        solver = self.cfg.SOLVER
        try:
            return self._trainer.build_lr_scheduler(self.cfg, optimizer)
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"SOLVER.LR_SCHEDULER_NAME {solver.LR_SCHEDULER_NAME} with SOLVER.STEPS {solver.STEPS} and "
                f"SOLVER.MAX_ITER {solver.MAX_ITER} can't be made ({error}): change what does not fit"
            ) from error

    def train_loader(self, training_data: list[DatasetDict]) -> Any:
        """Calls the trainer's `build_train_loader`."""
        return self._trainer.build_train_loader(self.cfg, training_data)

    def test_mapper(self) -> RelationDatasetMapper:
        """The mapper that the config describes, for evaluation."""
        mapper: RelationDatasetMapper = RelationDatasetMapper(self.cfg, is_train=False)
        return mapper

    def test_loader(self, dataset_name: str) -> Any:
        """Calls the trainer's `build_test_loader`."""
        return self._trainer.build_test_loader(self.cfg, dataset_name)

    def evaluator(self, dataset_name: str) -> DatasetEvaluator:
        """Calls the trainer's `build_evaluator`."""
        return self._trainer.build_evaluator(self.cfg, dataset_name)

    def check_evaluation(self, predicate_classes: Sequence[str]) -> None:
        """Checks the keys of the protocols."""
        task = self.cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK
        resolve_protocols(chosen_protocols(self.cfg), task, predicate_classes)

    def precise_bn(self, model: nn.Module) -> Any:
        """A hook that computes exact statistics before each evaluation, if TEST.PRECISE_BN is enabled."""
        test = self.cfg.TEST
        if not test.PRECISE_BN.ENABLED or not get_bn_modules(model):
            return None
        # Its own loader, so that the training's loader gives the same batches with and without this hook.
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        loader = self._trainer.build_train_loader(cfg)
        number = test.PRECISE_BN.NUM_ITER
        return hooks.PreciseBN(test.EVAL_PERIOD, model, _FirstBatches(loader, number), number)

    def verify(self, results: Mapping[str, Any]) -> None:
        """Compares results with TEST.EXPECTED_RESULTS in the main process."""
        if comm.is_main_process():
            verify_results(self.cfg, results)
