"""Checkpoints of safetensors: what is read, what is refused, and that the same weights give the same file."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reldn_d2.checkpoint import RelationCheckpointer, Vocabulary, read_checkpoint
from reldn_d2.checkpoint.formats import write_weights
from reldn_d2.checkpoint.safetensors_files import halved, write_safetensors

VOCABULARY = Vocabulary(["cup", "卓"], ["on", 'a "quoted" one'])
TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "bias": torch.tensor([0.1, -0.1]),
    "number": torch.tensor(3),
    "empty": torch.zeros(0, 4),
}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def with_header(path: Path, header: bytes, rest: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + rest)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_weights_and_vocabulary_come_back(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, TENSORS, VOCABULARY)
    found = read_checkpoint(path)
    assert_same(found["model"], TENSORS)
    assert Vocabulary.from_saved(found["vocabulary"], "") == VOCABULARY
    write_weights(path, TENSORS)
    assert read_checkpoint(path).keys() == {"model"}


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "bare.safetensors")
    save_file(TENSORS, tmp_path / "more.safetensors", {"format": "pt", "license": "mit"})
    for name in ("bare", "more"):
        found = read_checkpoint(tmp_path / f"{name}.safetensors")
        assert_same(found["model"], TENSORS)
        assert found.keys() == {"model"}


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """The library writes the texts of the header in any order."""
    texts = {letter: letter * 3 for letter in "hgfedcba"}
    digests = set()
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        write_safetensors(path, TENSORS, texts)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_tensors_that_share_memory_are_written_for_each_name(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    shared = {"a": table, "b": table, "part": table[1:], "transposed": table.t()}
    write_safetensors(tmp_path / "shared.safetensors", shared, {})
    assert_same(read_checkpoint(tmp_path / "shared.safetensors")["model"], shared)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_floats_become_those_of_the_model(tmp_path: Path, kind: torch.dtype) -> None:
    """A model of 32 bits takes the numbers of 16 bits without loss."""
    model, other = nn.Linear(3, 2), nn.Linear(3, 2).to(kind)
    write_weights(tmp_path / "other.safetensors", other.state_dict())
    RelationCheckpointer(model, complete=True).load(str(tmp_path / "other.safetensors"))
    assert model.weight.dtype is torch.float32
    assert torch.equal(model.weight, other.weight.float())


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([[1.0, float("nan"), 1.0], [1.0, 1.0, 1.0]]), "weight (1 NaN of 6 numbers)"),
        (torch.full((2, 3), float("inf")).half(), "weight (6 infinite of 6 numbers)"),
        (torch.ones(2, 3, dtype=torch.int8), "weight (int8, in the model float32)"),
        (torch.ones(2, 3).to(torch.float8_e4m3fn), "weight (float8_e4m3fn, in the model float32)"),
    ],
    ids=["nan", "infinite", "integers", "float8"],
)
def test_values_that_no_model_takes_are_refused(tmp_path: Path, tensor: Tensor, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"weight": tensor, "bias": torch.zeros(2)}, path)
    with pytest.raises(ValueError) as error:
        RelationCheckpointer(nn.Linear(3, 2), complete=True).load(str(path))
    assert str(path) in str(error.value) and message in str(error.value)


def test_damaged_files_name_themselves(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    write_weights(whole, TENSORS, VOCABULARY)
    content = whole.read_bytes()
    damaged = {
        "cut": content[:-5],
        "longer": content + b"more",
        "half a header": content[:40],
        "no header": content[:4],
        "empty": b"",
        "changed header": content.replace(b'"F32"', b'"F99"', 1),
        "giant header": b"\xff" * 8 + content[8:],
    }
    for name, part in damaged.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(part)
        assert "can't be read as safetensors" in refusal(path), name


def test_every_byte_of_the_header_may_be_damaged(tmp_path: Path) -> None:
    """Whatever a flipped bit makes of the header: an error that names the file, or tensors."""
    path = tmp_path / "flipped.safetensors"
    write_weights(path, {"w": torch.ones(2, 2)}, Vocabulary(["a"], ["b"]))
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    read = 0
    for place in range(end):
        for bit in (0, 6):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                assert read_checkpoint(path)["model"]
                read += 1
            except ValueError as error:
                assert str(path) in str(error)
    assert read < end


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"<!doctype html><title>404</title>", "it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is text that begins 'version https://git-lfs"),
    ],
    ids=["page", "pointer"],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    assert found in refusal(path)


def test_a_file_of_torch_save_and_one_of_safetensors_with_each_others_names(tmp_path: Path) -> None:
    write_weights(tmp_path / "pickled.pth", TENSORS)
    write_weights(tmp_path / "safe.safetensors", TENSORS)
    (tmp_path / "pickled.pth").rename(tmp_path / "pickled.safetensors")
    (tmp_path / "safe.safetensors").rename(tmp_path / "safe.pth")
    assert "it is a file of torch.save" in refusal(tmp_path / "pickled.safetensors")
    assert "it begins as a file of safetensors" in refusal(tmp_path / "safe.pth")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("{", "that is not JSON"),
        ("[" * 100_000, "that is not JSON"),
        ("[]", "not a dict of the lists"),
        ('{"thing_classes": ["a"]}', "not a dict of the lists"),
        ('{"thing_classes": [1], "predicate_classes": []}', "not a dict of the lists"),
    ],
    ids=["cut", "nested", "list", "half", "numbers"],
)
def test_a_vocabulary_of_another_form_is_refused(tmp_path: Path, vocabulary: str, message: str) -> None:
    path = tmp_path / "names.safetensors"
    save_file(TENSORS, path, {"vocabulary": vocabulary})
    assert message in refusal(path)


def test_files_of_other_frameworks_and_without_tensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "other.safetensors", {"format": "mlx"})
    assert "by another framework (format 'mlx')" in refusal(tmp_path / "other.safetensors")
    assert "contains no tensors" in refusal(with_header(tmp_path / "none.safetensors", b"{}"))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    assert "can't be read" in refusal(with_header(tmp_path / "giant.safetensors", header, b"1234"))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "gone.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert "it is a folder" in refusal(tmp_path / "folder.safetensors")


def test_half_precision_leaves_what_it_would_break() -> None:
    weights = {
        "weight": torch.full((2, 2), 1 / 3),
        "bias": torch.full((2,), 1 / 3),
        "counter": torch.tensor([[3]]),
        "large": torch.full((2, 2), 1e5),
        "table": torch.tensor([[0.5, float("-inf")]]),
    }
    found = halved(weights)
    kinds = {name: x.dtype for name, x in found.items()}
    float16, float32 = torch.float16, torch.float32
    assert kinds == {
        "weight": float16, "bias": float32, "counter": torch.int64, "large": float32, "table": float16
    }  # fmt: skip
    assert torch.equal(found["table"], weights["table"].half())
