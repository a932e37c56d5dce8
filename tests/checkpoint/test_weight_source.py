"""Addresses of weights, their options, and the checksum that is compared before the file is read."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from detectron2.utils.file_io import PathHandler, PathManager
from iopath.common.file_io import PathManager as PathManagerBase

from reldn_d2.checkpoint import WeightSource

DIGEST = hashlib.sha256(b"weights").hexdigest()


class Downloads(PathHandler):  # type: ignore[misc]
    """Serves zoo://NAME from a folder of "downloaded" files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _get_supported_prefixes(self) -> list[str]:
        return ["zoo://"]

    def _get_local_path(self, path: str, **_: Any) -> str:
        if path == "zoo://unreachable":
            raise OSError("HTTP Error 404: Not Found")
        return str(self.folder / path.removeprefix("zoo://"))


@pytest.fixture
def manager(tmp_path: Path) -> Any:
    manager = PathManagerBase()
    manager.register_handler(Downloads(tmp_path))
    (tmp_path / "model.pkl").write_bytes(b"weights")
    return manager


def test_addresses_and_options() -> None:
    parse = WeightSource.parse
    assert parse("a/b#c.pth") == WeightSource("a/b#c.pth", None, False)
    assert parse("zoo://a.pkl?matching_heuristics=True") == WeightSource("zoo://a.pkl", None, True)
    assert parse("a?matching_heuristics=False") == WeightSource("a", None, False)
    both = parse(f"https://host/a.pth?matching_heuristics=True&sha256={DIGEST.upper()}")
    assert both == WeightSource("https://host/a.pth", DIGEST, True)
    assert [parse(x).is_remote for x in ("a/b", "/a/b", "zoo://a", "https://a")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sha256=abc", "sha256 takes 64 hexadecimal digits, not 'abc'"),
        ("sha256=", "sha256 takes 64 hexadecimal digits, not ''"),
        (f"sha256={DIGEST}0", "sha256 takes 64 hexadecimal digits"),
        (f"sha256={'g' * 64}", "sha256 takes 64 hexadecimal digits"),
        ("matching_heuristics=yes", "matching_heuristics takes True or False, not 'yes'"),
        ("sha1=abc", "sha1 is no option of weights"),
        (f"sha256={DIGEST}&download=1&x", "download, x is no option of weights"),
    ],
)
def test_wrong_options_are_refused(query: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        WeightSource.parse(f"a.pth?{query}")
    assert f"a.pth?{query}" in str(error.value)


def test_the_checksum_of_a_download_is_logged(
    manager: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        path = WeightSource.parse("zoo://model.pkl").fetch(manager)
    assert path == tmp_path / "model.pkl"
    assert [f"zoo://model.pkl?sha256={DIGEST}" in message for message in caplog.messages] == [True]


def test_a_local_file_without_checksum_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "model.pth").write_bytes(b"weights")
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        assert WeightSource.parse(str(tmp_path / "model.pth")).fetch(PathManager) == tmp_path / "model.pth"
    assert not caplog.messages


def test_a_checksum_is_compared(manager: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = str(tmp_path / "model.pkl")
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        for address in ("zoo://model.pkl", local):
            assert WeightSource.parse(f"{address}?sha256={DIGEST}").fetch(manager) == Path(local)
    assert not caplog.messages
    (tmp_path / "model.pkl").write_bytes(b"weightz")
    found = hashlib.sha256(b"weightz").hexdigest()
    with pytest.raises(ValueError, match=f"{found}, not {DIGEST}") as error:
        WeightSource.parse(f"zoo://model.pkl?sha256={DIGEST}").fetch(manager)
    assert f"delete {local}" in str(error.value)
    with pytest.raises(ValueError, match=f"^{local} is not the expected file.*{found}, not {DIGEST}$"):
        WeightSource.parse(f"{local}?sha256={DIGEST}").fetch(manager)


def test_files_that_can_not_be_fetched(manager: Any, tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"zoo://unreachable could not be fetched \(HTTP Error 404: Not Found\)"
    ):
        WeightSource.parse("zoo://unreachable").fetch(manager)
    for address in ("zoo://nothing", str(tmp_path / "nothing"), "unknown://nothing"):
        with pytest.raises(FileNotFoundError, match=f"^{address} does not exist"):
            WeightSource.parse(f"{address}?sha256={DIGEST}").fetch(manager)
    with pytest.raises(ValueError, match=f"{tmp_path} is a folder"):
        WeightSource.parse(str(tmp_path)).fetch(manager)
    made = tmp_path / "vgg16_imagenet.pth"
    with pytest.raises(FileNotFoundError, match=f"make it with `reldn convert vgg16 --output {made}`"):
        WeightSource.parse(str(made)).fetch(manager)


def test_only_a_download_can_be_done_again() -> None:
    assert WeightSource.parse("a.pth").again(Path("a.pth")) == ""
    again = WeightSource.parse(f"zoo://a.pkl?sha256={DIGEST}").again(Path("cache/a.pkl"))
    assert "downloaded from zoo://a.pkl: delete cache/a.pkl" in again


def test_addresses_of_detectron2_lead_to_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    cached = tmp_path / "detectron2" / "COCO" / "model_final.pkl"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    for address in (
        "detectron2://COCO/model_final.pkl",
        "https://dl.fbaipublicfiles.com/detectron2/COCO/model_final.pkl",
    ):
        assert WeightSource.parse(f"{address}?sha256={DIGEST}").fetch(PathManager) == cached
