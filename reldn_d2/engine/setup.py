"""What has to be settled before training, evaluation or prediction starts."""

import argparse
import logging
import os
import runpy
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.modeling import META_ARCH_REGISTRY, RetinaNet
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.config import add_reldn_config
from reldn_d2.data.statistics import predicate_counts
from reldn_d2.modeling import RelDN
from reldn_d2.utils.io import atomic_write


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
    start_run(cfg, args, cfg.OUTPUT_DIR, cfg.MODEL.DEVICE)
    return cfg


def start_run(cfg: CfgNode | DictConfig, args: argparse.Namespace, output_dir: str, device: str) -> None:
    """Sets up logging, the seed and the output folder of a `train_net.py` run.

    Args:
        cfg: is written to the output folder.
        args: of `train_net.py`.
        output_dir, device: of the config, where that has them.

    Raises:
        ValueError: several processes on CPUs of a machine with GPUs.
    """
    # Detectron2 writes the config of every start there. Beside checkpoints it says how these were trained, so a
    # resumed run and an evaluation leave it as it was.
    folder = Path(output_dir)
    trained_with, has_checkpoint = folder / "config.yaml", (folder / "last_checkpoint").is_file()
    keep = (args.resume or args.eval_only) and has_checkpoint and trained_with.is_file()
    content = trained_with.read_bytes() if keep else b""
    default_setup(cfg, args)
    if keep and comm.is_main_process():
        with atomic_write(trained_with) as file:
            file.write(content)
        logging.getLogger(__name__).info("%s stays as the checkpoints beside it were trained", trained_with)
    if comm.get_world_size() > 1 and device == "cpu" and torch.cuda.is_available():
        raise ValueError(
            "several processes on a machine with GPUs talk through NCCL, which needs them: set the device to 'cuda', "
            "or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
        )
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="reldn_d2")


def setup_console() -> None:
    """Makes Detectron2's and this package's messages visible in tools that have no output folder."""
    for name in ("detectron2", "fvcore", "reldn_d2"):
        setup_logger(name=name)


def import_data_sets(module: str) -> None:
    """Run a module, or a .py file, which registers data sets: what `--import` of the tools does.

    Raises:
        ValueError: no such module, or one that it imports.
        FileNotFoundError: no such file.
    """
    is_file = module.endswith(".py")
    sys.path.append(str(Path(module).parent) if is_file else os.getcwd())
    try:
        if is_file:
            runpy.run_path(module)
        else:
            import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"--import {module}: {error}") from error


def vocabulary_of(dataset_name: str) -> Vocabulary:
    """Names of the entity classes and predicates of a registered data set (no predicates: an empty list).

    Raises:
        ValueError: the data set names no entity classes.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        # A loader of Detectron2's kind knows the names once it has read its file.
        DatasetCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        raise ValueError(
            f"data set {dataset_name} has no thing_classes: MetadataCatalog.get({dataset_name!r}).set(thing_classes=...)"
        )
    return Vocabulary(list(metadata.thing_classes), list(metadata.get("predicate_classes", [])))


def check_classes(cfg: CfgNode, dataset_names: Iterable[str]) -> Vocabulary:
    """Compares the class counts of the config with those of data sets, and the names of these with each other.

    Returns:
        The vocabulary of the data sets; without predicates if the config is of a detector.

    Raises:
        ValueError: they differ, or there is no data set.
    """
    single_stage = issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), RetinaNet)
    part = "RETINANET" if single_stage else "ROI_HEADS"
    counts = {"thing_classes": (f"MODEL.{part}.NUM_CLASSES", cfg.MODEL[part].NUM_CLASSES)}
    if is_relation_model(cfg):
        number = cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
        counts["predicate_classes"] = ("MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", number)
    return common_vocabulary(dataset_names, counts)


def common_vocabulary(dataset_names: Iterable[str], counts: Mapping[str, tuple[str, int]]) -> Vocabulary:
    """The vocabulary that data sets share with a config.

    Args:
        dataset_names: of data sets.
        counts: for "thing_classes" and, for RelDN, "predicate_classes": the config key that counts them and its value.

    Returns:
        Names of the classes; no predicates if `counts` has none.

    Raises:
        ValueError: a count is not that of a data set, the names differ, or there is no data set.
    """
    vocabularies = {name: vocabulary_of(name) for name in dataset_names}
    if "predicate_classes" not in counts:
        vocabularies = {name: replace(x, predicate_classes=[]) for name, x in vocabularies.items()}
    if not vocabularies:
        raise ValueError("DATASETS.TRAIN and DATASETS.TEST name no data set: name at least one")
    first = next(iter(vocabularies.values()))
    for name, vocabulary in vocabularies.items():
        for kind, (key, number) in counts.items():
            in_data_set = len(getattr(vocabulary, kind))
            if number != in_data_set:
                raise ValueError(
                    f"{key} is {number}, but data set {name} has {in_data_set}: set {key} to {in_data_set}, or name "
                    "another data set"
                )
        first.check_equal(vocabulary, f"data set {name}")
    return first


def is_relation_model(cfg: CfgNode) -> bool:
    """Whether the config is of stage 2: RelDN, or a meta-architecture derived from it."""
    return issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), RelDN)


def set_predicate_statistics(model: RelDN, cfg: CfgNode, dataset_dicts: list[dict[str, Any]]) -> None:
    """Gives a RelDN's relation head the predicate counts of a training set.

    Args:
        model: not yet trained.
        cfg: says which pairs count.
        dataset_dicts: the whole training set, images without relations included.

    Raises:
        ValueError: an annotation of a class or predicate that the config does not have.
    """
    head = cfg.MODEL.ROI_RELATION_HEAD
    # Also for a head that makes no use of them: counting is what checks the range of every annotation.
    counts = predicate_counts(
        dataset_dicts,
        cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        head.NUM_PREDICATES,
        overlap_only=head.OVERLAP_ONLY,
        background_count=head.SEMANTIC.BACKGROUND_COUNT,
    )
    model.relation_head.set_predicate_counts(counts)
