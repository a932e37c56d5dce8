"""Shards of predictions: what is read equals what was written, and nothing else is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances, RotatedBoxes
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.evaluation.io import shards
from reldn_d2.evaluation.io.shards import (
    ShardWriter,
    UnsupportedValueError,
    output_shards,
    pack,
    read_shard,
    write_shard,
)

TYPES = (torch.uint8, torch.int32, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32)


def again(folder: Path, value: Any) -> Any:
    """A value after it was written and read."""
    write_shard(folder / "part-000-000000.npz", {"a": "b"}, [pack([7], [1]), pack([8, 9], value)])
    shard = read_shard(folder / "part-000-000000.npz")
    assert shard.identity == {"a": "b"} and list(shard.records) == [(7,), (8, 9)]
    return shard.records[8, 9]


def same(one: Any, other: Any) -> bool:
    """Whether two values have the same types and bytes."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return [*one] == [*other] and all(same(x, other[key]) for key, x in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape
        return shards.as_array(one).tobytes() == shards.as_array(other).tobytes()
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, Instances):
        return one.image_size == other.image_size and same(one.get_fields(), other.get_fields())
    if isinstance(one, Boxes | RotatedBoxes | BitMasks):
        return same(one.tensor, other.tensor)
    return bool(one == other)


def instances(count: int) -> Instances:
    """Detections with every kind of field, some of them as odd as a model may make them."""
    found = Instances((30, 40))
    found.pred_boxes = Boxes(torch.rand(count, 4))
    found.pred_masks = torch.rand(count, 5, 7) > 0.5
    found.masks = BitMasks(torch.rand(count, 3, 3) > 0.5)
    found.turned = RotatedBoxes(torch.rand(count, 5))
    found.every_second = torch.arange(2 * count)[::2]
    found.names = ["x"] * count
    return found


def test_every_kind_of_value(tmp_path: Path) -> None:
    numbers = [torch.tensor([[0, 1, 3]]).to(kind) for kind in TYPES]
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    value = {
        "instances": instances(3),
        "nothing": instances(0),
        "without fields": Instances((3, 4)),
        "tensors": [*numbers, odd, odd.half(), torch.tensor(7), torch.zeros(0, 3, dtype=torch.bool)],
        "expanded": torch.ones(1, 1).expand(3, 2),
        "arrays": (np.arange(6, dtype=">i2").reshape(2, 3).T, np.zeros((2, 0)), np.float64(0.1), np.True_),
        "plain": [None, True, 1, 2**70, 0.1, -0.0, float("inf"), "Straße \udcff\x00", ()],
        "nested": {"": [{"tuple": (1,)}]},
    }
    assert same(again(tmp_path, value), value)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x) | st.tuples(x, x),
        max_leaves=6,
    )
)
def test_plain_values(tmp_path: Path, value: Any) -> None:
    assert same(again(tmp_path, value), value)


def test_what_is_read_may_be_changed(tmp_path: Path) -> None:
    boxes, array = again(tmp_path, (Boxes(torch.zeros(2, 4)), np.zeros(3)))
    boxes.tensor += 1
    array += 1
    assert boxes.tensor.sum() == 8 and array.sum() == 3


def test_a_record_is_a_copy(tmp_path: Path) -> None:
    value = torch.zeros(3)
    record = pack([0], value)
    value += 1
    write_shard(tmp_path / "x.npz", {}, [record])
    assert read_shard(tmp_path / "x.npz").records[(0,)].tolist() == [0, 0, 0]


def test_masks_take_less_than_a_bit_each(tmp_path: Path) -> None:
    masks = torch.zeros(50, 200, 200, dtype=torch.bool)
    masks[:, 50:150, 60:140] = True
    assert len(pack([0], masks).data) < masks.numel() / 50


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "a builtins.object"),
        ([{"x": {1, 2}}], "a builtins.set"),
        ({1: 2}, "a builtins.dict"),
        (np.array([None]), "a numpy.ndarray"),
        (np.array(["x"]), "a numpy.ndarray"),
        (torch.zeros(2, dtype=torch.complex64), "a tensor of torch.complex64"),
        (torch.eye(2).to_sparse(), "a tensor of torch.float32 and layout torch.sparse_coo"),
        (type("Mine", (Instances,), {})((1, 1)), "Mine"),
        (type("Boxes", (Boxes,), {})(torch.zeros(1, 4)), "Boxes"),
    ],
)
def test_other_values_are_refused_by_name(value: Any, name: str) -> None:
    with pytest.raises(UnsupportedValueError, match=name):
        pack([0], value)


def test_files_that_are_no_shards(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_shard(path, {"a": "b"}, [pack([0], [torch.arange(1000), torch.ones(9, dtype=torch.bool)])])
    whole = path.read_bytes()
    # Every byte counts: the places are spread over the file.
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            read = read_shard(path)
        except ValueError as error:
            assert str(error).startswith(f"{path} is no complete shard of predictions: ")
        else:  # a byte of the archive that is not read, such as a time
            assert read.records[(0,)][0].tolist() == list(range(1000)) and read.identity == {"a": "b"}
    for content in (b"", b"text", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz is no complete shard of predictions"):
            read_shard(path)
    with pytest.raises(FileNotFoundError):
        read_shard(tmp_path / "none.npz")


def written(path: Path, content: str, data: bytes = b"") -> Path:
    arrays = {"content": content.encode(), "data": data}
    np.savez(path, **{name: np.frombuffer(x, dtype=np.uint8) for name, x in arrays.items()})
    return path


@pytest.mark.parametrize(
    "value",
    [
        '{"tensor": ["float32", [2], 0, 8]}',
        '{"tensor": ["float32", [3], 0, 4]}',
        '{"tensor": ["float32", [1], -4, 0]}',
        '{"tensor": ["load", [1], 0, 4]}',
        '{"array": ["O", [1], 0, 4]}',
        '{"array": ["<f4", [2], 0, 4]}',
        '{"Instances": [{"tuple": [1, 2]}, {"a": {"list": [1]}, "b": {"list": []}}]}',
        '{"open": ["x"]}',
        '{"list": [], "tuple": []}',
        "{}",
    ],
)
def test_contents_that_make_no_sense(tmp_path: Path, value: str) -> None:
    record = f'[{{"key": [0], "start": 0, "value": {value}}}]'
    path = written(
        tmp_path / "x.npz", f'{{"format_version": 1, "identity": {{}}, "records": {record}}}', bytes(4)
    )
    with pytest.raises(ValueError, match=r"x\.npz is no complete shard of predictions"):
        read_shard(path)


def test_other_versions_and_pickles_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npz", '{"format_version": 2, "identity": {}, "records": []}')
    with pytest.raises(ValueError, match="it has format version 2, not 1"):
        read_shard(path)
    mark = tmp_path / "mark"
    np.savez(path, content=np.array([LeavesAMark(mark)], dtype=object), data=np.zeros(0, dtype=np.uint8))
    with pytest.raises(ValueError, match="no complete shard"):
        read_shard(path)
    assert not mark.exists()


class LeavesAMark:
    """Writes a file when its pickle is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def writer_of(folder: Path, **limits: Any) -> ShardWriter:
    return ShardWriter(
        folder, lambda: {"a": "b"}, rank=1, **{"images": 9, "seconds": 1e9, "size": 10**9, **limits}
    )


@pytest.mark.parametrize(
    ("limits", "shards_of_five"), [({}, 1), ({"images": 2}, 3), ({"size": 8 * 3}, 2), ({"seconds": -1.0}, 5)]
)
def test_a_shard_is_written_when_one_of_three_limits_is_reached(
    tmp_path: Path, limits: dict[str, Any], shards_of_five: int
) -> None:
    writer = writer_of(tmp_path / "new", **limits)
    for i in range(5):
        writer.add(pack([i], np.zeros(1)), 1)
    writer.flush()
    writer.flush()
    paths = output_shards(tmp_path / "new").paths()
    assert [path.name for path in paths] == [f"part-001-{i:06}.npz" for i in range(shards_of_five)]
    assert [key for path in paths for key in read_shard(path).records] == [(i,) for i in range(5)]
    assert writer.count == 5


def test_shards_of_an_earlier_try_stay(tmp_path: Path) -> None:
    (tmp_path / "part-001-000007.npz").touch()
    (tmp_path / "part-001-notes.npz").touch()
    writer = writer_of(tmp_path)
    writer.add(pack([0], None), 9)
    assert read_shard(tmp_path / "part-001-000008.npz").records == {(0,): None}


def test_without_a_shard_no_identity_is_computed(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, lambda: pytest.fail("computed"), rank=0, images=9, seconds=1e9, size=10**9)
    writer.add(pack([0], None), 8)
