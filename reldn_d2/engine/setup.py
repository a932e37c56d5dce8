"""What has to be settled before training, evaluation or prediction starts."""

import argparse
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.config import add_reldn_config
from reldn_d2.data import predicate_counts
from reldn_d2.modeling import RelDN


def load_config(config_file: str, opts: list[str] | None = None) -> CfgNode:
    """Detectron2's defaults, RelDN's keys, a YAML file and overrides, in this order; not frozen.

    Args:
        config_file: YAML file.
        opts: KEY VALUE pairs, flat.
    """
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(opts or [])
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """Config of a `train_net.py` run, frozen; also sets up logging, the seed and the output folder."""
    cfg = load_config(args.config_file, args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def vocabulary_of(dataset_name: str) -> Vocabulary:
    """Names of the entity classes and predicates of a registered data set (no predicates: an empty list).

    Raises:
        ValueError: the data set names no entity classes.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(dataset_name)  # a loader of Detectron2's kind knows the names once it has read its file
    if metadata.get("thing_classes") is None:
        raise ValueError(
            f"data set {dataset_name} has no thing_classes: MetadataCatalog.get({dataset_name!r}).set(thing_classes=...)"
        )
    return Vocabulary(list(metadata.thing_classes), list(metadata.get("predicate_classes", [])))


def check_classes(cfg: CfgNode, dataset_name: str) -> Vocabulary:
    """Compares the class counts of the config with those of a data set.

    Returns:
        The vocabulary of the data set.

    Raises:
        ValueError: they differ.
    """
    vocabulary = vocabulary_of(dataset_name)
    wanted = [("MODEL.ROI_HEADS.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES, vocabulary.thing_classes)]
    if cfg.MODEL.META_ARCHITECTURE == "RelDN":
        number = cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
        wanted.append(("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", number, vocabulary.predicate_classes))
    for key, number, names in wanted:
        if number != len(names):
            raise ValueError(
                f"{key} is {number}, but data set {dataset_name} has {len(names)}: set {key} to {len(names)}, or name "
                "another data set"
            )
    return vocabulary


def set_predicate_statistics(model: RelDN, cfg: CfgNode, dataset_dicts: list[dict[str, Any]]) -> None:
    """Fills the table of a RelDN's semantic module from a training set. A head without one is left as it is.

    Args:
        model: with a relation head that has a `pair_classifier`.
        cfg: says which pairs count.
        dataset_dicts: the whole training set, images without relations included.
    """
    semantic = model.relation_head.pair_classifier.semantic
    if semantic is None:
        return
    head = cfg.MODEL.ROI_RELATION_HEAD
    semantic.set_counts(
        predicate_counts(
            dataset_dicts,
            cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            head.NUM_PREDICATES,
            overlap_only=head.OVERLAP_ONLY,
            background_count=head.SEMANTIC.BACKGROUND_COUNT,
        )
    )
