"""Boxes of detectors that other projects register, with keys that this package does not know."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from torch import nn

from reldn_d2.engine import cache_detections, load_config, parts_of
from reldn_d2.engine.parts import Config
from tests.builders.tiny_models import REPOSITORY, TinyConfig

NAME, DATA = "OneStageOfATest", "reldn_scenes_tiny_test"  # the scenes have 6 classes
TINY_LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")


class OneStage(nn.Module):
    """Finds one object of class `finds` in each image."""

    def __init__(self, finds: int = 5, num_classes: Any = None, key: str = "instances") -> None:
        super().__init__()
        self.finds, self.key = finds, key
        if num_classes is not None:
            self.num_classes = num_classes

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        found = Instances((96, 96))
        found.pred_boxes, found.scores = Boxes(torch.tensor([[1.0, 2.0, 30.0, 40.0]])), torch.tensor([0.5])
        found.pred_classes = torch.tensor([self.finds])
        return [{self.key: found} for _ in batched_inputs]


@pytest.fixture(params=["class", "function"])
def registered(request: pytest.FixtureRequest) -> Iterator[None]:
    """A registry takes classes and functions."""
    made = type(NAME, (OneStage,), {}) if request.param == "class" else lambda cfg: OneStage()
    META_ARCH_REGISTRY._do_register(NAME, made)
    yield
    del META_ARCH_REGISTRY._obj_map[NAME]


@pytest.fixture(params=["yaml", "python"])
def foreign(request: pytest.FixtureRequest, tiny_config: TinyConfig, registered: None) -> Config:
    """The config of a detector of another project, which leaves our keys as they are."""
    if request.param == "yaml":
        return tiny_config(
            *("MODEL.META_ARCHITECTURE", NAME, "MODEL.ROI_HEADS.NUM_CLASSES", "80"), file="detector.yaml"
        )
    cfg = load_config(TINY_LAZY)
    assert isinstance(cfg, DictConfig)
    # As every config of a detector: without what refers to RelDN.
    cfg.dataloader.pop("statistics")
    cfg.dataloader.pop("evaluator")
    cfg.model = L(OneStage)(finds=5)
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.mapper.image_format = "BGR"
    return cfg


def test_the_config_has_no_number_of_classes(foreign: Config) -> None:
    assert dict(parts_of(foreign).class_counts()) == {}


@pytest.mark.parametrize("num_classes", [None, 6])
def test_boxes_are_written(foreign: Config, tmp_path: Path, num_classes: int | None) -> None:
    cache_detections(foreign, OneStage(5, num_classes), DATA, tmp_path / "found.npz")
    with np.load(tmp_path / "found.npz") as archive:
        assert set(archive["classes"].tolist()) == {5} and len(archive["thing_classes"]) == 6


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: OneStage(5, 80), f"OneStage has 80 classes, but data set {DATA} has 6: "),
        (lambda: OneStage(6), rf"{DATA}, image .*: .* found class 6, but the data set has 6 classes"),
        (lambda: OneStage(-1), "found class -1"),
        (lambda: OneStage(key="proposals"), "OneStage has no 'instances', only proposals: "),
    ],
)
def test_boxes_of_other_classes_are_refused(
    foreign: Config, tmp_path: Path, model: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cache_detections(foreign, model(), DATA, tmp_path / "found.npz")
    assert not (tmp_path / "found.npz").exists()


def any_model(**arguments: Any) -> None:
    """Stands for a model of another project, which takes any argument."""


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"num_classes": 6, "head": {"num_classes": "${..num_classes}"}}, "model.num_classes"),  # RetinaNet
        ({"head": {"num_classes": 6}}, "model.head.num_classes"),
        ({"head": {"num_classes": 80}, "roi_heads": {"num_classes": 6}}, "model.roi_heads.num_classes"),
    ],
)
def test_keys_of_configs_in_python(arguments: dict[str, Any], key: str) -> None:
    cfg = load_config(TINY_LAZY)
    assert isinstance(cfg, DictConfig)
    cfg.model = L(any_model)(**arguments)
    assert dict(parts_of(cfg).class_counts()) == {"thing_classes": (key, 6)}


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("PanopticFPN", "MODEL.ROI_HEADS.NUM_CLASSES"),
        ("RetinaNet", "MODEL.RETINANET.NUM_CLASSES"),
        ("ProposalNetwork", None),
    ],
)
def test_keys_of_detectron2s_kinds(tiny_config: TinyConfig, architecture: str, key: str | None) -> None:
    cfg = tiny_config("MODEL.META_ARCHITECTURE", architecture, file="detector.yaml")
    assert [name for name, _ in parts_of(cfg).class_counts().values()] == ([key] if key else [])
