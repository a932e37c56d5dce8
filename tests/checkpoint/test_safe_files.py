"""Weight files from untrusted sources: old and new formats are read, and no code in them is run."""

import builtins
import copyreg
import functools
import os
import pickle
import re
import runpy
import shutil
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.checkpoint.array_pickles import ALLOWED
from reldn_d2.checkpoint.safe_files import last_checkpoint_in, looks_like, read_pickle, read_torch
from tests.builders.pickles import Calls, pickled_by, pickled_by_python2

BLOBS = {
    "conv1_w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "empty": np.zeros((0, 4), dtype=np.float64),
    "count": np.array(7, dtype=np.int64),
    "bytes": np.array([0, 127, 128, 255], dtype=np.uint8),
}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_every_protocol_and_numpy(tmp_path: Path, core: str, protocol: int) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickled_by(core, protocol, {"model": OrderedDict(BLOBS), "__author__": "Zoo"}))
    assert core.encode() in path.read_bytes()
    found = read_pickle(path)
    assert found["__author__"] == "Zoo" and isinstance(found["model"], OrderedDict)
    assert_same(found["model"], BLOBS)


def test_arrays_of_python_2(tmp_path: Path) -> None:
    blobs = {name: array for name, array in BLOBS.items() if name != "bytes"}
    (tmp_path / "x.pkl").write_bytes(pickled_by_python2(blobs))
    assert_same(read_pickle(tmp_path / "x.pkl"), blobs)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_numbers_and_containers(tmp_path: Path, core: str, protocol: int) -> None:
    content = [np.float32(0.5), np.int64(3), {1, 2}, frozenset({"a"}), b"", b"\xff", bytearray(b"xy"), None]
    (tmp_path / "x.pkl").write_bytes(pickled_by(core, protocol, content))
    found = read_pickle(tmp_path / "x.pkl")
    assert found == content and type(found[0]) is np.float32


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_in_protocol_5(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    for stored in (array, array.T, np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(stored, protocol=5))
        np.testing.assert_array_equal(read_pickle(tmp_path / "x.pkl"), stored)


# Name that the message must contain -> a call that writes the file "it_ran" in the current folder.
WRITE = "open('it_ran', 'w')"
MALICE: dict[str, Calls] = {
    "posix.system": Calls(os.system, "touch it_ran"),
    "functools.partial": Calls(functools.partial, open, "it_ran", "w"),
    "builtins.eval": Calls(eval, WRITE),
    "builtins.exec": Calls(exec, WRITE),
    "builtins.getattr": Calls(getattr, "it_ran", "upper"),
    "builtins.__import__": Calls(builtins.__import__, "this"),
    f"{open.__module__}.open": Calls(open, "it_ran", "w"),
    "shutil.copy": Calls(shutil.copy, "script.py", "it_ran"),
    "subprocess.Popen": Calls(subprocess.Popen, ["touch", "it_ran"]),
    "runpy.run_path": Calls(runpy.run_path, "script.py"),
    # Loaders, which would run code in another file or text.
    "numpy.load": Calls(np.load, "array.npy", None, True),
    "_pickle.loads": Calls(pickle.loads, pickle.dumps(Calls(eval, WRITE))),
    "torch.serialization.load": Calls(torch.load, "weights.pth", None, None),
    "numpy.fromfile": Calls(np.fromfile, "script.py"),
    "numpy.memmap": Calls(np.memmap, "it_ran", "u1", "w+", 0, (1,)),
}


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that malicious code writes, in a folder with the files that the code needs."""
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(WRITE)
    np.save("array.npy", np.array([Calls(eval, WRITE)], dtype=object), allow_pickle=True)
    torch.save({"model": torch.zeros(1)}, "weights.pth")
    return tmp_path / "it_ran"


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", list(MALICE))
def test_nothing_in_a_pickle_is_run(mark: Path, tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": BLOBS, "more": MALICE[name]}, protocol, fix_imports=False))
    with pytest.raises(ValueError, match=rf"{path} can't be read as weights.*it asks for {re.escape(name)},"):
        read_pickle(path)
    assert not mark.exists()


def test_the_malicious_calls_above_would_run(mark: Path) -> None:
    pickle.loads(pickle.dumps(MALICE["builtins.eval"]))
    assert mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "functools.partial", "numpy.load"])
def test_nothing_in_a_file_of_pytorch_is_run(mark: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / "model.pth"
    saved = {"model": {"a": torch.zeros(1)}, "more": MALICE[name]}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"{path} can't be read as weights") as error:
        read_torch(path)
    assert name.rpartition(".")[2] in str(error.value) and "weights_only" not in str(error.value)
    assert not mark.exists()


def test_a_function_is_refused_even_without_a_call(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(os.system))
    with pytest.raises(ValueError, match=r"asks for posix\.system"):
        read_pickle(tmp_path / "x.pkl")


def test_copyregs_extension_codes_are_checked_too(tmp_path: Path) -> None:
    copyreg.add_extension("posix", "system", 240)
    try:
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(os.system, protocol=2))
        assert b"system" not in (tmp_path / "x.pkl").read_bytes()
        with pytest.raises(ValueError, match=r"asks for posix\.system"):
            read_pickle(tmp_path / "x.pkl")
    finally:
        copyreg.remove_extension("posix", "system", 240)


def test_a_reference_to_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02U\x01aQ.")
    with pytest.raises(ValueError, match=r"x\.pkl can't be read as weights"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("in_slots", [False, True])
@pytest.mark.parametrize("name", list(ALLOWED))
def test_a_pickle_can_not_change_what_it_may_use(tmp_path: Path, name: str, in_slots: bool) -> None:
    """The "state" that a pickle gives to a function would stay for the whole process."""
    module, _, attribute = name.rpartition(".")
    state = b"}U\x0c__defaults__(K\x01ts"
    state = b"N" + state + b"\x86" if in_slots else state
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + state + b"b.")
    with pytest.raises(ValueError, match="can't be read as weights"):
        read_pickle(path)


def test_a_pickle_can_not_change_numpys_types(tmp_path: Path) -> None:
    state = pickle.dumps((3, ">", None, None, None, -1, -1, 0), protocol=2)[2:-1]
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02cnumpy\ndtype\nU\x02f4\x85R" + state + b"b.")
    with pytest.raises(ValueError, match="contains a PickledType, which is no array"):
        read_pickle(path)
    assert np.dtype("f4").isnative


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_pytorch(tmp_path: Path, zipped: bool) -> None:
    saved = {"a": torch.randn(3), "lr": np.float64(0.1), "epoch": np.int64(3), "words": ["x", 1, None]}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_torch(tmp_path / "x.pth")
    assert torch.equal(found.pop("a"), saved.pop("a")) and found == saved
    assert type(found["lr"]) is np.float64


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numbers_of_numpy_under_their_old_and_new_name(tmp_path: Path, module: bytes) -> None:
    path = tmp_path / "x.pth"
    torch.save({"lr": np.float64(0.1)}, path, _use_new_zipfile_serialization=False)
    content = re.sub(rb"cnumpy\._?core\.multiarray\n", b"c" + module + b"\n", path.read_bytes())
    assert module in content
    path.write_bytes(content)
    assert read_torch(path) == {"lr": 0.1}


def test_the_old_format_can_not_be_mapped_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(4)}, path)
    assert read_torch(path, mmap=True)["a"].tolist() == [0, 1, 2, 3]
    torch.save({"a": torch.arange(4)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"x\.pth can't be read as weights.*mmap"):
        read_torch(path, mmap=True)


def zipped_text(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return path.read_bytes()


@pytest.mark.parametrize("read", [read_pickle, read_torch])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"  \n\t", "it is blank"),
        (b"<!DOCTYPE html><html><body>404", "it is an HTML page"),
        (b"\n <HTML lang='en'>", "it is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12",
            "it is text that begins 'version https://git-lfs.github.com/spec/v1'",
        ),
        ("größer\nals".encode() * 60, "it is text that begins 'größer'"),
        (b"PK\x03\x04broken", "it is a zip archive that is cut off"),
        (b"\x80\x04\x95broken", "it is a pickle"),
        (b"\x89HDF\r\n\x1a\n1234", "it begins with the bytes 89 48 44 46 0d 0a 1a 0a"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, read: Any, content: bytes, expected: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pkl can't be read as weights") as error:
        read(path)
    assert f"weights: {expected}" in str(error.value) and "ownload it again" in str(error.value)


def test_each_reader_recognises_the_other_format(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for zipped, expected in (
        (True, "a file of torch.save ("),
        (False, "a file of torch.save of the old format ("),
    ):
        torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=re.escape(f"it is {expected}")):
            read_pickle(path)
    path.write_bytes(pickle.dumps(BLOBS))
    with pytest.raises(ValueError, match=r"it is a pickle \("):
        read_torch(path)
    zipped_text(path)
    with pytest.raises(ValueError, match="it is a zip archive of something else"):
        read_torch(path)


@given(share=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["zip", "old", "pickle"]))
def test_a_file_that_is_cut_off(share: float, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "model"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": BLOBS}))
    else:
        torch.save({"model": torch.zeros(9)}, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="model can't be read as weights"):
        (read_pickle if kind == "pickle" else read_torch)(path)


@pytest.mark.parametrize("read", [read_pickle, read_torch])
def test_a_missing_file_and_a_folder(tmp_path: Path, read: Any) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        read(tmp_path / "nothing")
    with pytest.raises(ValueError, match="it is a folder"):
        read(tmp_path)


@given(content=st.binary(max_size=300))
def test_every_file_gets_a_description(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "anything"
    path.write_bytes(content)
    assert looks_like(path).startswith("it ")


def test_a_last_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    tag = tmp_path / "last_checkpoint"
    tag.write_text("model_0000009.pth\n")
    with pytest.raises(FileNotFoundError, match=r"last_checkpoint names 'model_0000009.pth'.* delete it"):
        last_checkpoint_in(tmp_path)
    (tmp_path / "model_0000004.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"such as model_0000004\.pth"):
        last_checkpoint_in(tmp_path)
    (tmp_path / "model_0000009.pth").touch()
    assert last_checkpoint_in(tmp_path) == tmp_path / "model_0000009.pth"
    tag.write_bytes(b"")
    with pytest.raises(ValueError, match="names '', which is no file of this folder"):
        last_checkpoint_in(tmp_path)
