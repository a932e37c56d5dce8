"""Reading checkpoints in every format that training can start from, and writing converted weights."""

import argparse
import logging
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.checkpoint.formats import read_checkpoint, write_weights
from tests.builders.pickles import pickled_by_python2

ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, dtype=np.int64)}
TENSORS = {name: torch.from_numpy(np.array(array)) for name, array in ARRAYS.items()}


def write(path: Path, content: Any) -> Path:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    return path


def assert_model(found: dict[str, Any], expected: dict[str, Tensor]) -> None:
    assert list(found["model"]) == list(expected)
    for name, tensor in expected.items():
        assert isinstance(found["model"][name], Tensor), name
        assert found["model"][name].dtype == tensor.dtype and torch.equal(found["model"][name], tensor), name


@pytest.mark.parametrize("heuristics", [True, None])
def test_the_model_zoo(tmp_path: Path, heuristics: bool | None, caplog: pytest.LogCaptureFixture) -> None:
    content: dict[str, Any] = {"model": ARRAYS, "__author__": "The Zoo"}
    if heuristics:
        content["matching_heuristics"] = heuristics
    path = write(tmp_path / "model_final_123456.pkl", content)
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        found = read_checkpoint(path)
    assert_model(found, TENSORS)
    assert found["__author__"] == "The Zoo" and found.get("matching_heuristics") == heuristics
    assert any("The Zoo" in message for message in caplog.messages)


def test_caffe2(tmp_path: Path) -> None:
    """The file of a detector has blobs and a config, the file of an ImageNet model only blobs."""
    blobs = {**ARRAYS, "w_momentum": np.zeros(3)}
    for content in (blobs, {"blobs": blobs, "cfg": "NUM_GPUS: 8"}):
        found = read_checkpoint(write(tmp_path / "R-50.pkl", content))
        assert_model(found, TENSORS)
        assert found["__author__"] == "Caffe2" and found["matching_heuristics"] is True


def test_caffe2_of_python_2(tmp_path: Path) -> None:
    (tmp_path / "R-50.pkl").write_bytes(pickled_by_python2({**ARRAYS, "w_momentum": np.zeros(3)}))
    assert_model(read_checkpoint(tmp_path / "R-50.pkl"), TENSORS)


def test_pycls(tmp_path: Path) -> None:
    state = {**TENSORS, "bn.num_batches_tracked": torch.tensor(4)}
    path = write(tmp_path / "RegNet.pyth", {"model_state": state, "epoch": 3, "cfg": "text"})
    found = read_checkpoint(path)
    assert_model(found, TENSORS)
    assert found["__author__"] == "pycls" and found["matching_heuristics"] is True
    write(path, {"model": TENSORS})
    with pytest.raises(ValueError, match=r"RegNet\.pyth has no 'model_state'"):
        read_checkpoint(path)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ""])
def test_files_of_torch_save(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    assert_model(read_checkpoint(write(path, TENSORS)), TENSORS)
    found = read_checkpoint(
        write(path, {"model": TENSORS, "iteration": 7, "optimizer": {"lr": np.float64(0.1)}})
    )
    assert_model(found, TENSORS)
    assert found["iteration"] == 7 and "matching_heuristics" not in found


def test_the_versions_of_layers_are_kept(tmp_path: Path) -> None:
    """A state dict has them as an attribute, which PyTorch needs to convert old layers."""
    state = nn.BatchNorm1d(3).state_dict()
    versions = state._metadata  # type: ignore[attr-defined]
    assert versions[""]["version"] == 2
    for content in (state, {"model": state}):
        assert read_checkpoint(write(tmp_path / "x.pth", content))["model"]._metadata == versions


@pytest.mark.filterwarnings("error")
def test_arrays_become_tensors_of_their_own(tmp_path: Path) -> None:
    """This holds for every byte order. The tensors can be written to."""
    big, native = np.array([1, 2], dtype=">f4"), np.array([3, 4], dtype=np.int32)
    stored = {"big": big, "native": native, "scalar": np.float32(0.5), "flags": np.array([True])}
    native.setflags(write=False)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": stored, "__author__": "a"}, protocol=5))
    found = read_checkpoint(tmp_path / "x.pkl")["model"]
    assert found["big"].tolist() == [1, 2] and found["big"].dtype == torch.float32
    assert found["scalar"].item() == 0.5 and found["flags"].dtype == torch.bool
    found["native"] += 1
    assert found["native"].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("x.pth", torch.zeros(3), "contains Tensor, but a checkpoint contains tensors by name"),
        ("x.pth", [1, 2], "contains list, but a checkpoint"),
        ("x.pth", {}, "contains nothing, but a checkpoint"),
        ("x.pth", {"model": {}}, "contains nothing, but a checkpoint"),
        ("x.pth", {"model": torch.zeros(3)}, "contains Tensor, but a checkpoint"),
        ("x.pth", {"model": {"a": torch.zeros(1), "b": 3}}, r"tensors by name, but it has 'b' \(int\)"),
        ("x.pth", {"a": torch.zeros(1), 3: torch.zeros(1)}, r"but it has 3 \(Tensor\)"),
        (
            "x.pth",
            {"meta": "v2", "state_dict": OrderedDict(TENSORS), "optimizer": {"state": {}}, "a": 1, "b": 2},
            r"'meta' \(str\), 'state_dict' \(OrderedDict\), 'optimizer' \(dict\) and 2 more.*"
            r"Its tensors are in 'state_dict'",
        ),
        ("x.pth", {"optimizer": {"state": {}}, "step": 2}, "is not a checkpoint of.*Give a checkpoint of"),
        ("x.pkl", [ARRAYS], "contains list"),
        ("x.pkl", {"model": "resnet", "w": ARRAYS["w"]}, r"but it has 'model' \(str\)"),
        ("x.pkl", {"blobs": {"a": np.array([None])}}, r"can't be read as weights.*the type 'O8'"),
        (
            "x.pkl",
            {"blobs": {"a": np.array(["text"]), "b": np.array([1j])}},
            r"'a' \(ndarray\), 'b' \(ndarray\)",
        ),
        ("x.pkl", {"blobs": 3}, "contains int"),
        ("x.pyth", {"model_state": 3}, "contains int"),
        ("x.pyth", 3, "contains int"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, file: str, content: Any, message: str) -> None:
    path = write(tmp_path / file, content)
    with pytest.raises(ValueError, match=rf"^{path} .*{message}"):
        read_checkpoint(path)


def test_a_training_state_with_objects_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"state_dict": TENSORS, "args": argparse.Namespace(lr=1)})
    with pytest.raises(
        ValueError, match=r"x\.pth can't be read as weights: it is a file of torch\.save.*Namespace"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("file", "message"),
    [("model.pkl", "it is a file of torch.save"), ("model.pth", "it is a pickle")],
)
def test_a_suffix_of_another_format(tmp_path: Path, file: str, message: str) -> None:
    path = tmp_path / file
    other = path.with_suffix(".pth" if path.suffix == ".pkl" else ".pkl")
    write(other, {"model": ARRAYS if other.suffix == ".pkl" else TENSORS}).rename(path)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def training_state() -> dict[str, Any]:
    """All keys that the authors' training saved."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = np.float64(0.001)
    state["param_groups"][0]["step"] = np.int64(7)
    return {
        "step": 62722,
        "train_size": np.int32(62723),
        "batch_size": 8,
        "model": OrderedDict(model.state_dict()),
        "optimizer": state,
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "PyTorch 0.4"])
def test_a_training_state_of_the_authors(tmp_path: Path, zipped: bool) -> None:
    path, saved = tmp_path / "model_step62722.pth", training_state()
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    assert path.read_bytes().startswith(b"PK") == zipped
    found = read_checkpoint(path)
    assert found["step"] == 62722 and found["train_size"] == 62723
    group = found["optimizer"]["param_groups"][0]
    assert (group["lr"], group["step"]) == (0.001, 7)
    assert list(found["model"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert all(torch.equal(value, saved["model"][name]) for name, value in found["model"].items())
    momentum = found["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, saved["optimizer"]["state"][0]["momentum_buffer"])


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_were_saved_on_a_gpu(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = training_state()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:3")
        torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert b"cuda:3" in (tmp_path / "x.pth").read_bytes()
    found = read_checkpoint(tmp_path / "x.pth")["model"]
    assert all(torch.equal(value, saved["model"][name]) for name, value in found.items())


def test_weights_are_written_atomically_with_their_vocabulary(tmp_path: Path) -> None:
    weights: dict[str, Tensor] = {"a": torch.randn(3)}
    path = tmp_path / "new" / "x.pth"
    write_weights(path, weights, Vocabulary(["cup"], ["on", "under"]))
    found = torch.load(path, weights_only=True)
    assert found.keys() == {"model", "vocabulary", "sha256"} and torch.equal(
        found["model"]["a"], weights["a"]
    )
    assert found["vocabulary"] == {"thing_classes": ["cup"], "predicate_classes": ["on", "under"]}
    write_weights(path, weights)
    assert torch.load(path, weights_only=True).keys() == {"model", "sha256"}
    with pytest.raises(AttributeError):
        write_weights(path, {"a": lambda: None})  # type: ignore[dict-item]
    assert torch.load(path, weights_only=True).keys() == {"model", "sha256"}
    assert [file.name for file in path.parent.iterdir()] == ["x.pth"]


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_flipped_bit_of_a_weight_is_found(name: str, tmp_path: Path) -> None:
    """PyTorch itself reads such a file."""
    path = tmp_path / name
    weights = {"a": torch.arange(1.0, 9.0), "b": torch.zeros((), dtype=torch.bfloat16)}
    write_weights(path, weights, Vocabulary(["cup"], ["on"]))
    found = read_checkpoint(path)
    assert found.keys() == {"model", "vocabulary"}
    whole = path.read_bytes()
    place = whole.index(weights["a"].numpy().tobytes()) + 4
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=f"{name} was damaged or changed after it was written"):
        read_checkpoint(path)


def test_settings_are_part_of_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    write_weights(path, {"a": torch.ones(2)}, Vocabulary(["cup"], ["on"]))
    content = torch.load(path, weights_only=True)
    content["vocabulary"]["thing_classes"] = ["cap"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="save it without the entry 'sha256'"):
        read_checkpoint(path)
    del content["sha256"]
    torch.save(content, path)
    assert read_checkpoint(path)["vocabulary"]["thing_classes"] == ["cap"]
