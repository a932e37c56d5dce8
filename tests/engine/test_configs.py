"""Every YAML file builds at full size, with data and evaluators, and every key of the project is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from reldn_d2 import add_reldn_config
from reldn_d2.engine import Trainer, check_classes, load_model
from reldn_d2.engine.yaml import is_relation_config
from tests.builders.config_files import ARCHITECTURES, EVERY, RUNS, data_sets, leaves, load, name_of


@pytest.fixture
def keys_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Full names of the config keys that are read while the test runs."""
    found: set[str] = set()
    read = CfgNode.__getattr__

    def record(node: CfgNode, name: str) -> Any:
        value = read(node, name)
        path = ".".join(filter(None, [node.__dict__.get("path_of_test", ""), name]))
        if isinstance(value, CfgNode):
            value.__dict__["path_of_test"] = path
        else:
            found.add(path)
        return value

    monkeypatch.setattr(CfgNode, "__getattr__", record)
    yield found


def build_without_memory(cfg: CfgNode) -> nn.Module:
    """The model at full size, without memory for its numbers."""
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model: nn.Module = build_model(cfg)
    return model


@pytest.mark.parametrize("file", EVERY, ids=name_of)
def test_every_file_loads(file: Path) -> None:
    load(file)


@pytest.mark.parametrize("file", [*ARCHITECTURES, *RUNS], ids=name_of)
def test_the_model_builds_at_full_size(file: Path) -> None:
    cfg = load(file)
    model = build_without_memory(cfg)
    assert all(parameter.is_meta for parameter in model.parameters())
    if is_relation_config(cfg):
        classes, predicates = cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
        table = model.relation_head.pair_classifier.semantic.log_prior
        assert table.shape == (classes, classes, predicates + 1)


@pytest.mark.parametrize("file", RUNS, ids=name_of)
@pytest.mark.usefixtures("stand_ins")
def test_data_and_evaluators_build(file: Path, tmp_path: Path) -> None:
    cfg = load(file, "OUTPUT_DIR", str(tmp_path), "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "1")
    check_classes(cfg, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, *cfg.DATASETS.STATISTICS))
    assert cfg.DATASETS.TRAIN and cfg.DATASETS.TEST
    assert "instances" in next(iter(Trainer.build_train_loader(cfg)))[0]
    for name in cfg.DATASETS.TEST:
        assert "instances" in next(iter(Trainer.build_test_loader(cfg, name)))[0]
        Trainer.build_evaluator(cfg, name)


def test_data_sets_are_found_by_their_names() -> None:
    assert len(data_sets()) > 5 and data_sets() <= set(DatasetCatalog)


@pytest.mark.usefixtures("stand_ins")
def test_every_key_is_read(keys_read: set[str], tmp_path: Path) -> None:
    options = ("OUTPUT_DIR", str(tmp_path))
    for name in ("base/rcnn_vgg16.yaml", "vrd/reldn_efficientnet_lite0_fpn.yaml"):
        build_without_memory(load(name))
    cfg = load("scenes/reldn.yaml", *options, "MODEL.WEIGHTS", str(tmp_path / "detector.pth"))
    model = build_model(cfg)
    model.relation_head.set_predicate_counts(np.ones((6, 6, 8), dtype=np.int64))
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    for name in cfg.DATASETS.TEST:
        Trainer.build_test_loader(cfg, name)
        Trainer.build_evaluator(cfg, name)
    load_model(load("scenes/frequency.yaml", *options, "MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"))
    ours, theirs = get_cfg(), get_cfg()
    add_reldn_config(ours)
    added = leaves(ours).keys() - leaves(theirs).keys()
    assert len(added) > 40 and added - keys_read == set()


def test_defaults_change_no_key_of_detectron2() -> None:
    ours, theirs = get_cfg(), get_cfg()
    add_reldn_config(ours)
    changed = leaves(ours)
    for name, value in leaves(theirs).items():
        assert changed[name] == value
