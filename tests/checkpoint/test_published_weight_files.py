"""Files as the published training wrote them, and as the tools write them."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reldn_d2.checkpoint import Vocabulary
from reldn_d2.checkpoint.formats import read_checkpoint
from reldn_d2.checkpoint.importers import write_weights


def training_state() -> dict[str, Any]:
    """All that the published training code saved."""
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
def test_all_that_the_published_training_saved(tmp_path: Path, zipped: bool) -> None:
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


def test_what_is_written(tmp_path: Path) -> None:
    weights: dict[str, Tensor] = {"a": torch.randn(3)}
    path = tmp_path / "new" / "x.pth"
    write_weights(path, weights, Vocabulary(["cup"], ["on", "under"]))
    found = torch.load(path, weights_only=True)
    assert found.keys() == {"model", "vocabulary"} and torch.equal(found["model"]["a"], weights["a"])
    assert found["vocabulary"] == {"thing_classes": ["cup"], "predicate_classes": ["on", "under"]}
    write_weights(path, weights)
    assert torch.load(path, weights_only=True).keys() == {"model"}
    with pytest.raises(AttributeError):
        write_weights(path, {"a": lambda: None})  # type: ignore[dict-item]
    assert torch.load(path, weights_only=True).keys() == {"model"}
    assert [file.name for file in path.parent.iterdir()] == ["x.pth"]
