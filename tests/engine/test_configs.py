"""Every YAML builds, and every key that the project adds is read by somebody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from tiny_models import REPOSITORY

from reldn_d2 import add_reldn_config
from reldn_d2.engine import Trainer, load_config, load_model

CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenes under the names and vocabularies of data sets that are not at hand."""
    tiny = DatasetCatalog.get("scenes_tiny_test")
    for name in ("vrd_train", "vrd_test"):
        metadata = MetadataCatalog.get(name)
        assert len(metadata.thing_classes) == 100 and len(metadata.predicate_classes) == 70
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)
    for name in ("scenes_train", "scenes_test"):
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)


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


def added_keys() -> set[str]:
    def leaves(node: CfgNode, prefix: str = "") -> set[str]:
        found = set()
        for name, value in node.items():
            found |= leaves(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else {prefix + name}
        return found

    ours, theirs = get_cfg(), get_cfg()
    add_reldn_config(ours)
    return leaves(ours) - leaves(theirs)


def build_everything(file: Path, output: Path) -> None:
    """Training, testing and evaluation of a config, up to the first image."""
    cfg = load_config(str(file), ["OUTPUT_DIR", str(output), "MODEL.WEIGHTS", ""])
    for name in cfg.DATASETS.TEST:
        next(iter(Trainer.build_test_loader(cfg, name)))
        Trainer.build_evaluator(cfg, name)
    if file.stem == "frequency":
        cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = "prdcls"
        load_model(cfg)
        return
    trainer = Trainer(cfg)
    next(iter(trainer.data_loader))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
@pytest.mark.usefixtures("stand_ins")
def test_config_builds(file: Path, tmp_path: Path) -> None:
    build_everything(file, tmp_path)


@pytest.mark.usefixtures("stand_ins")
def test_every_key_is_read(keys_read: set[str], tmp_path: Path) -> None:
    assert CONFIGS
    for file in CONFIGS:
        build_everything(file, tmp_path)
    assert added_keys() - keys_read == set()


def test_defaults_change_no_key_of_detectron2() -> None:
    ours, theirs = get_cfg(), get_cfg()
    add_reldn_config(ours)

    def compare(a: CfgNode, b: CfgNode) -> None:
        for name, value in b.items():
            if isinstance(value, CfgNode):
                compare(a[name], value)
            else:
                assert a[name] == value

    compare(ours, theirs)
