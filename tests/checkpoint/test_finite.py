"""Weights that are NaN, infinite or of another type than the model's are neither loaded nor saved."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.checkpoint.finite import FiniteWeights, NotFiniteError, not_finite
from tests.builders.tiny_models import TinyConfig, make_model

State = dict[str, Any]
TABLE = "relation_head.pair_classifier.semantic.log_prior"


class Masked(nn.Module):
    """A layer, a counter, and a mask as models with attention have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def pth(folder: Path, state: State) -> Path:
    torch.save({"model": state}, folder / "x.pth")
    return folder / "x.pth"


def bare(folder: Path, state: State) -> Path:
    torch.save(state, folder / "x.pt")
    return folder / "x.pt"


def wrapped(folder: Path, state: State) -> Path:
    """The state of a model that DistributedDataParallel wraps."""
    return bare(folder, {f"module.{name}": x for name, x in state.items()})


def zoo(folder: Path, state: State) -> Path:
    arrays = {name: x.numpy() for name, x in state.items()}
    (folder / "x.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "a"}))
    return folder / "x.pkl"


def caffe2(folder: Path, state: State) -> Path:
    (folder / "x.pkl").write_bytes(pickle.dumps({name: x.numpy() for name, x in state.items()}))
    return folder / "x.pkl"


def pycls(folder: Path, state: State) -> Path:
    torch.save({"model_state": state}, folder / "x.pyth")
    return folder / "x.pyth"


FORMATS = (pth, bare, wrapped, zoo, caffe2, pycls)


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_is_enough(tmp_path: Path, write: Callable[[Path, State], Path], value: float) -> None:
    state = nn.Linear(3, 2).state_dict()
    state["weight"][1, 2] = value
    path, model = write(tmp_path, state), nn.Linear(3, 2)
    before = model.weight.clone()
    kind = "NaN" if value != value else "infinite"
    with pytest.raises(
        ValueError, match=rf"^{path} has 1 parameters .* not finite: weight \(1 {kind} of 6 numbers\)"
    ):
        RelationCheckpointer(model).load(str(path))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_other_types_are_refused(tmp_path: Path, write: Callable[[Path, State], Path], kind: str) -> None:
    state = nn.Linear(3, 2).state_dict()
    state["bias"] = state["bias"].to(getattr(torch, kind))
    path = write(tmp_path, state)
    expected = rf"^{path} has 1 parameters of another type .*: bias \({kind}, in the model float32\)"
    with pytest.raises(ValueError, match=expected):
        RelationCheckpointer(nn.Linear(3, 2)).load(str(path))


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "complex": (lambda x: x.to(torch.complex64), "complex64"),
    "sparse": (lambda x: x.to_sparse(), "float32, sparse"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "meta": (lambda x: x.to("meta"), "float32"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_are_refused(kind: str) -> None:
    change, name = ODD[kind]
    state = nn.Linear(3, 2).state_dict()
    state["bias"] = change(state["bias"])
    with pytest.raises(ValueError, match=rf"^x\.pth has 1 .*: bias \({name}, in the model float32\)"):
        FiniteWeights(nn.Linear(3, 2)).refuse(state, nn.Linear(3, 2).state_dict(), "x.pth")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_sizes_of_numbers_are_converted(tmp_path: Path, kind: torch.dtype) -> None:
    state = {name: x.to(kind) for name, x in nn.Linear(3, 2).state_dict().items()}
    model = nn.Linear(3, 2)
    RelationCheckpointer(model).load(str(pth(tmp_path, state)))
    assert torch.equal(model.weight, state["weight"].float())


def test_a_number_that_is_too_large_for_the_model_is_infinite(tmp_path: Path) -> None:
    state = {name: x.double() for name, x in nn.Linear(3, 2).state_dict().items()}
    state["bias"][0] = 1e300
    with pytest.raises(ValueError, match=r"not finite: bias \(1 infinite of 2 numbers\)"):
        RelationCheckpointer(nn.Linear(3, 2)).load(str(pth(tmp_path, state)))


def test_counters_are_integers(tmp_path: Path) -> None:
    state = Masked().state_dict()
    for kind in (torch.int64, torch.int32):
        state["norm.num_batches_tracked"] = torch.tensor(7, dtype=kind)
        RelationCheckpointer(Masked()).load(str(pth(tmp_path, state)))
    state["norm.num_batches_tracked"] = torch.tensor(7.0)
    with pytest.raises(ValueError, match=r"tracked \(float32, in the model int64\)"):
        RelationCheckpointer(Masked()).load(str(pth(tmp_path, state)))


def test_a_mask_may_be_infinite_where_the_model_has_one(tmp_path: Path) -> None:
    checkpointer = RelationCheckpointer(Masked(), str(tmp_path))
    checkpointer.save("model")
    checkpointer.load(str(tmp_path / "model.pth"))
    state = Masked().state_dict()
    for name, value in (("mask", torch.nan), ("mask", torch.inf), ("norm.running_var", torch.inf)):
        broken = {**state, name: torch.full_like(state[name], value)}
        with pytest.raises(ValueError, match=f"not finite: {name}"):
            checkpointer.load(str(pth(tmp_path, broken)))


def test_what_the_model_lacks_is_not_looked_at(tmp_path: Path) -> None:
    state = {**nn.Linear(3, 2).state_dict(), "ema.decay": torch.tensor(torch.nan)}
    RelationCheckpointer(nn.Linear(3, 2)).load(str(pth(tmp_path, state)))


def test_an_error_lists_three_names(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    state = {name: torch.full_like(x, torch.nan) for name, x in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"has 6 parameters .*: 0.weight \(4 NaN of 4 numbers\), 0.bias .*, "
                       r"1.weight .* and 3 more\. Its training has diverged"):  # fmt: skip
        RelationCheckpointer(model).load(str(pth(tmp_path, state)))


def test_empty_tensors_are_finite() -> None:
    assert not_finite({"a": torch.zeros(0), "b": torch.tensor([1, 2]), "c": torch.tensor(torch.inf)}) == ["c"]
    assert not_finite({}) == []


@pytest.fixture
def stage1(tiny_config: TinyConfig) -> CfgNode:
    return tiny_config(file="detector.yaml")


def test_a_run_is_not_resumed_with_broken_weights(stage1: CfgNode, tmp_path: Path) -> None:
    checkpointer = RelationCheckpointer(build_model(stage1), str(tmp_path))
    checkpointer.save("model")
    saved = torch.load(tmp_path / "model.pth", weights_only=True)
    saved["model"]["backbone.bottom_up.stem.conv1.norm.running_mean"][3] = torch.nan
    del saved["sha256"]
    torch.save(saved, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth .*: backbone.*running_mean \(1 NaN of 8 numbers\)"):
        checkpointer.resume_or_load("")


def test_a_relation_part_is_checked(tiny_config: TinyConfig, tmp_path: Path) -> None:
    model = make_model(tiny_config())
    state = model.state_dict()
    name = "relation_head.pair_classifier.visual.subject_skip.weight"
    for value, message in (
        (torch.full_like(state[name], torch.nan), "not finite"),
        (torch.zeros_like(state[name], dtype=torch.int32), "another type"),
    ):
        path = pth(tmp_path, {**state, name: value})
        with pytest.raises(ValueError, match=rf"^{path} has 1 parameters .*{message}.*: {name}"):
            RelationCheckpointer(model).load_relation_part(str(path))


def test_a_counted_table_may_contain_zero_probabilities(tiny_config: TinyConfig, tmp_path: Path) -> None:
    """Their logarithm is -inf. The table of a model that was not counted is NaN."""
    model = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.SEMANTIC.EPS", "0.0"))
    assert model.state_dict()[TABLE].min() == -torch.inf
    checkpointer = RelationCheckpointer(model, str(tmp_path), complete=True)
    checkpointer.save("model")
    checkpointer.load(str(tmp_path / "model.pth"))
    for value in (torch.inf, torch.nan):
        broken = {**model.state_dict(), TABLE: torch.full_like(model.state_dict()[TABLE], value)}
        with pytest.raises(ValueError, match=f"not finite: {TABLE}"):
            checkpointer.load(str(pth(tmp_path, broken)))
    with pytest.raises(NotFiniteError, match="A table of predicates is NaN until it is counted"):
        RelationCheckpointer(build_model(tiny_config()), str(tmp_path)).save("uncounted")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_weights_are_not_saved(tmp_path: Path, value: float) -> None:
    model = nn.Linear(3, 2)
    checkpointer = RelationCheckpointer(model, str(tmp_path))
    checkpointer.save("good")
    with torch.no_grad():
        model.bias[1] = value
    with pytest.raises(NotFiniteError, match=rf"^{tmp_path}/bad\.pth is not written, .*: bias\. Earlier"):
        checkpointer.save("bad")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good.pth", "last_checkpoint"]
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "good.pth")


def test_a_process_that_does_not_write_does_not_look(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias.fill_(np.nan)
    RelationCheckpointer(model, str(tmp_path), save_to_disk=False).save("model")
