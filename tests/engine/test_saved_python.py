"""Configs in Python are saved as plain data, and read again as they were."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec
from omegaconf import DictConfig, OmegaConf
from torch import nn

from reldn_d2.engine import import_data_sets, load_config, parts_of
from reldn_d2.engine.saved_python import NotSaved, from_data, to_data
from tests.builders.tiny_models import REPOSITORY

TINY_LAZY = str(REPOSITORY / "tests" / "builders" / "tiny_lazy.py")
OURS = sorted((REPOSITORY / "configs" / "lazy").glob("*.py"))


def again(cfg: DictConfig) -> DictConfig:
    """The config after it was written and read."""
    return from_data(yaml.safe_load(yaml.safe_dump(to_data(cfg))), "config.yaml")


@pytest.mark.parametrize("file", [*OURS, Path(TINY_LAZY)], ids=lambda file: file.stem)
def test_our_configs_are_the_same_after_saving(file: Path, tmp_path: Path) -> None:
    parts, saved = parts_of(load_config(str(file))), tmp_path / "config.yaml"
    parts.save(saved)
    text = saved.read_text()
    assert not {"!", "&", "*"} & set(text.replace("\n#", ""))  # no tags, anchors and aliases
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
    loaded = parts_of(load_config(str(saved)))
    assert loaded.is_python
    assert loaded.settings() == parts.settings()
    assert loaded.detector_settings() == parts.detector_settings()
    assert loaded.length_keys() == parts.length_keys()
    loaded.save(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_text() == text


def test_the_model_of_a_saved_config_is_the_same(tmp_path: Path) -> None:
    cfg = load_config(TINY_LAZY)
    parts_of(cfg).save(tmp_path / "config.yaml")
    models = []
    for x in (cfg, load_config(str(tmp_path / "config.yaml"), ["model.relation_head.top_k=7"])):
        torch.manual_seed(0)
        models.append(parts_of(x).model())
    assert str(models[0]) == str(models[1]) and models[1].relation_head.top_k == 7
    for name, value in models[0].state_dict().items():
        np.testing.assert_array_equal(value, models[1].state_dict()[name], err_msg=name)


def test_values_of_all_kinds() -> None:
    cfg = OmegaConf.create(flags={"allow_objects": True})
    cfg.number, cfg.text, cfg.nothing, cfg.flag, cfg.small = 3, "a: b", None, True, 1e-6
    cfg.reference = "${number}"
    cfg.last = "${reldn_d2.last:${.values}}"
    cfg["values"] = (1, [2, {"deep": "${..0}"}])
    cfg.kind, cfg.function = nn.BatchNorm2d, torch.nn.functional.relu
    cfg.norm = partial(nn.LayerNorm, 4, eps=1e-6)
    cfg.shapes = partial(ShapeSpec, channels=(1, 2))
    cfg.shape = ShapeSpec(channels=3)
    cfg.lazy_shape = L(ShapeSpec)(channels="${number}")
    cfg.mapping = L("builtins.dict")(a=L(nn.ReLU)(inplace=True))
    found = again(cfg)
    assert OmegaConf.to_container(found, resolve=False) == OmegaConf.to_container(cfg, resolve=False) | {
        "norm": found.norm,
        "shapes": found.shapes,
    }
    assert found.reference == 3 and found.kind is nn.BatchNorm2d
    for name in ("norm", "shapes"):
        one, other = cfg[name], found[name]
        assert (one.func, one.args, one.keywords) == (other.func, other.args, other.keywords)
    assert instantiate(found.shape) == ShapeSpec(channels=3) == instantiate(found.lazy_shape)
    assert instantiate(found.mapping)["a"].inplace


def local() -> Any:
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda x: x, "function test_.*<lambda>|function <lambda>"),
        (local(), r"type local\.<locals>\.Local"),
        (partial(lambda x: x), "partial"),
        (torch.zeros(2), "Tensor"),
        ("${oc.env:HOME}", r"the text \$ \{oc.env:HOME\}"),
        ({"_name_": "x"}, "dict"),
        (b"bytes", "bytes"),
    ],
)
def test_what_could_not_be_saved_is_named_when_it_is_needed(value: Any, what: str, tmp_path: Path) -> None:
    cfg = load_config(TINY_LAZY)
    cfg.model.relation_head.more = cfg.train.unused = value
    file = tmp_path / "config.yaml"
    parts_of(cfg).save(file)
    loaded = load_config(str(file))
    assert isinstance(loaded.train.unused, NotSaved)
    parts = parts_of(loaded)
    parts.test_mapper()
    with pytest.raises(
        ValueError, match=rf"model.relation_head.more is ({what}).*, which could not .*--config-file"
    ):
        parts.model()
    parts.save(file)
    assert isinstance(load_config(str(file)).train.unused, NotSaved)


def test_a_target_that_could_not_be_saved_is_named_when_it_is_needed() -> None:
    cfg = load_config(TINY_LAZY)
    cfg.dataloader.train.mapper._target_ = lambda **_: None
    cfg.lr_multiplier = L(lambda: None)()
    parts = parts_of(again(cfg))
    for make, key in (
        (lambda: parts.train_loader([]), "dataloader.train.mapper._target_"),
        (lambda: parts.lr_scheduler(None), "lr_multiplier._target_"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=rf"{key} is function .*could not be saved"):
            make()


def test_parts_of_own_projects_need_their_import(tmp_path: Path) -> None:
    (tmp_path / "my_saved_parts.py").write_text(
        "from os import mkdir\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "class Head(nn.ReLU):\n"
        "    @classmethod\n"
        "    def small(cls): return cls()\n"
        "@dataclass\n"
        "class Size:\n"
        "    width: int = 3\n"
    )
    targets = ("Head", "Head.small", "Size")
    for name in targets:
        with pytest.raises(
            ValueError, match=rf"my_saved_parts.{name}'.* --import the module that defines it"
        ):
            from_data({"x": {"_target_": f"my_saved_parts.{name}"}}, "config.yaml")
    import_data_sets(str(tmp_path / "my_saved_parts.py"))
    made = [
        instantiate(from_data({"x": {"_target_": f"my_saved_parts.{name}"}}, "")["x"]) for name in targets
    ]
    assert [type(x).__name__ for x in made] == ["Head", "Head", "Size"]
    size = from_data({"x": {"_dataclass_": "my_saved_parts.Size", "width": 5}}, "").x
    assert dataclasses.asdict(OmegaConf.to_object(size)) == {"width": 5}
    assert to_data(OmegaConf.create({"x": type(made[0])}, flags={"allow_objects": True})) == {
        "x": {"_name_": "my_saved_parts.Head"}
    }
    for other in ("mkdir", "nn.ReLU", "Size.__init__.__globals__", "no_such"):
        with pytest.raises(ValueError, match="which is no part of a model"):
            from_data({"x": {"_target_": f"my_saved_parts.{other}"}}, "config.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": {"_dataclass_": "torch.nn.ReLU"}}, "x: .*ReLU.* is no dataclass"),
        ({"x": {"_dataclass_": "detectron2.layers.ShapeSpec", "a": 1}}, "x: ShapeSpec has no a"),
        ({"x": {"_dataclass_": "detectron2.layers.ShapeSpec", "width": "a"}}, "x.width: Value 'a' of type"),
        ({"x": {"_name_": "torch.nn.ReLU", "_tuple_": []}}, "x: it has the keys '_name_', '_tuple_'"),
        ({"x": {(1, 2): 3}}, r"x: it has the keys \(1, 2\)"),
        ({"x": {1, 2}}, "x: .* is a set"),
    ],
)
def test_other_content_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"config.yaml: {message}"):
        from_data(content, "config.yaml")
