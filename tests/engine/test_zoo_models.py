"""Models of the zoo as folders: downloads, digests, conversion, and what is left after a failure."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from reldn_d2.engine import load_config, load_model, zoo_models
from reldn_d2.engine.zoo_models import zoo_folder
from reldn_d2.model_zoo import ZooEntry, get_config_file, zoo_entry
from tests.builders.authors_checkpoints import Widths, random_weights, reldn_shapes

WIDTHS = Widths()
NAME = "authors-vg-x101-fpn"


@pytest.fixture(scope="module")
def authors_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of the authors' code."""
    path = tmp_path_factory.mktemp("server") / "model_step62722.pth"
    torch.save({"step": 1, "model": random_weights(reldn_shapes(WIDTHS, vgg=False))}, path)
    return path


@pytest.fixture
def by_hand(tmp_path: Path) -> ZooEntry:
    """The entry of a checkpoint of the authors, with a config of the small network."""
    small = tmp_path / "small.yaml"
    small.write_text(load_config(get_config_file("published/vg_x101_fpn.yaml"), WIDTHS.fpn_options()).dump())
    return replace(zoo_entry(NAME), config=str(small))


@pytest.fixture
def remote(by_hand: ZooEntry, authors_file: Path) -> ZooEntry:
    """The same as if it were at an address, which is that of a local file."""
    return replace(
        by_hand,
        source="url",
        location=authors_file.as_uri(),
        file=authors_file.name,
        sha256=sha256(authors_file),
    )


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may read a checkpoint."""

    def read(*_: object, **__: object) -> str:
        raise AssertionError("a file was read before its digest was compared")

    monkeypatch.setattr(zoo_models, "convert_authors_checkpoint", read)


def test_a_model_of_the_wheel_is_its_folder() -> None:
    entry = zoo_entry("scenes-tiny")
    assert zoo_folder(entry, local_files_only=True) == entry.folder


def test_a_model_at_an_address_is_downloaded_converted_and_kept(
    remote: ZooEntry, authors_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = zoo_folder(remote, cache_dir=tmp_path / "cache")
    assert files_in(tmp_path / "cache") == ["config.yaml", "model_final.pth", "model_step62722.pth"]
    assert sha256(tmp_path / "cache" / NAME / "download" / authors_file.name) == remote.sha256
    cfg = load_config(
        str(folder / "config.yaml"),
        ["MODEL.WEIGHTS", str(folder / "model_final.pth")],
        beside_weights=[str(folder / "config.yaml")],
    )
    assert load_model(cfg).relation_head.pair_classifier.semantic.log_prior.shape == (6, 6, 8)

    # Neither the address nor the conversion is needed again.
    monkeypatch.setattr(zoo_models, "convert_authors_checkpoint", None)
    gone = replace(remote, location="file:///no/such/file")
    assert zoo_folder(gone, cache_dir=tmp_path / "cache", local_files_only=True) == folder
    with pytest.raises(OSError, match="file:///no/such/file could not be fetched"):
        zoo_folder(gone, cache_dir=tmp_path / "cache", force_download=True)


def test_without_a_folder_it_is_kept_in_the_users_cache(
    remote: ZooEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert zoo_folder(remote).parent == tmp_path / "user" / "reldn_d2" / "model_zoo" / NAME


@pytest.mark.usefixtures("unread")
def test_a_download_with_another_digest_is_refused_and_leaves_nothing(
    remote: ZooEntry, authors_file: Path, tmp_path: Path
) -> None:
    cache, other = tmp_path / "cache", "0" * 64
    wrong = replace(remote, sha256=other)
    with pytest.raises(ValueError, match=f"file://.*has sha256 {sha256(authors_file)}, not {other}"):
        zoo_folder(wrong, cache_dir=cache)
    with pytest.raises(ValueError, match=f"not {other}"):
        zoo_folder(wrong, cache_dir=cache, trust=True)  # a known digest counts all the same
    assert files_in(cache) == []


@pytest.mark.usefixtures("unread")
def test_a_file_that_changed_in_the_cache_is_refused(
    remote: ZooEntry, authors_file: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "cache" / NAME / "download" / authors_file.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(authors_file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{kept} is not the expected file.*Delete it to get it again"):
        zoo_folder(remote, cache_dir=tmp_path / "cache")


@pytest.mark.usefixtures("unread")
def test_a_file_without_a_digest_is_refused_before_it_is_downloaded(remote: ZooEntry, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"digest of the model {NAME} is not known.*\(--sha256 DIGEST\).*\(--trust\)"
    ):
        zoo_folder(replace(remote, sha256=None), cache_dir=tmp_path / "cache")
    assert files_in(tmp_path / "cache") == []


@pytest.mark.parametrize("how", ["trust", "sha256"])
def test_a_file_without_a_digest_is_taken_if_the_user_says_so(
    how: str, remote: ZooEntry, authors_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = replace(remote, sha256=None)
    if how == "trust":
        folder = zoo_folder(unknown, cache_dir=tmp_path, trust=True)
        assert f"has sha256 {sha256(authors_file)}" in caplog.text
    else:
        folder = zoo_folder(unknown, cache_dir=tmp_path, sha256=sha256(authors_file).upper())
    assert files_in(folder) == ["config.yaml", "model_final.pth"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("12", "sha256 takes 64 hexadecimal digits, not '12'"), ("0" * 64, "leave out the digest")],
)
def test_an_impossible_digest(given: str, message: str, remote: ZooEntry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        zoo_folder(remote, cache_dir=tmp_path / "cache", sha256=given)


def test_without_network_the_place_of_the_file_is_named(remote: ZooEntry, tmp_path: Path) -> None:
    place = tmp_path / "cache" / NAME / "download" / "model_step62722.pth"
    with pytest.raises(FileNotFoundError, match=f"no network may be used: .* at {place}"):
        zoo_folder(remote, cache_dir=tmp_path / "cache", local_files_only=True)


def test_what_a_person_has_to_download(by_hand: ZooEntry, authors_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache" / NAME / "download" / "model_step62722.pth"
    with pytest.raises(FileNotFoundError) as error:
        zoo_folder(by_hand, cache_dir=tmp_path / "cache", trust=True)
    assert str(error.value) == (
        f"the model {NAME} has to be downloaded by hand: open {by_hand.location} (not verified: nobody "
        "here could open this page), unpack the archive, and put its file "
        f"trained_models/vg_X-101-64x4d-FPN/model_step62722.pth at {place}"
    )
    place.parent.mkdir(parents=True)
    place.symlink_to(authors_file)
    assert files_in(zoo_folder(by_hand, cache_dir=tmp_path / "cache", trust=True))


def test_a_file_of_another_network_is_refused(remote: ZooEntry, tmp_path: Path) -> None:
    other = replace(remote, config="published/vg_vgg16.yaml")
    with pytest.raises(ValueError, match=r"for .*vg_vgg16\.yaml: .*ResNeXt"):
        zoo_folder(other, cache_dir=tmp_path / "cache")
    assert files_in(tmp_path / "cache") == ["model_step62722.pth"]


Server = Callable[[type[BaseHTTPRequestHandler]], str]


@pytest.fixture
def serve() -> Iterator[Server]:
    """Starts a server with a handler on this machine, and returns its address."""
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/model_step62722.pth"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
# What a server sends -> what the error says about it.
FAILURES = {
    "it does not have the file": (b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n", "Gone"),
    "it ends after half of it": (HEAD + b"Content-Length: 2000\r\n\r\n" + b"x" * 1000, "1,?000"),
    "it closes the connection": (b"", "closed connection"),
    "it does not speak HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0"),
    "its length is no number": (HEAD + b"Content-Length: long\r\n\r\n" + b"x" * 9, "its length is 'long'"),
    "its length is negative": (HEAD + b"Content-Length: -9\r\n\r\n" + b"x" * 9, "its length is '-9'"),
    "it sends too much": (HEAD + b"\r\n" + b"x" * 5000, "longer than 4,000 bytes"),
    "it sends too little": (HEAD + b"\r\n" + b"x" * 3000, "ended after 3,000 of 4,000 bytes"),
    "it announces another length": (
        HEAD + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
        "longer than 4,000",
    ),
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("failure", FAILURES)
def test_a_server_that_fails_leaves_nothing(
    failure: str, remote: ZooEntry, serve: Server, tmp_path: Path
) -> None:
    sent, reason = FAILURES[failure]

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(sent)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    address = serve(Failing)
    entry = replace(remote, location=address, sha256=None, bytes=4000)
    place = tmp_path / "cache" / NAME / "download" / "model_step62722.pth"
    with pytest.raises(OSError, match=rf"{address} could not be fetched \(.*{reason}.* put it at {place}"):
        zoo_folder(entry, cache_dir=tmp_path / "cache", trust=True)
    assert files_in(tmp_path / "cache") == []


def test_a_server_that_nobody_runs(remote: ZooEntry, serve: Server, tmp_path: Path) -> None:
    entry = replace(remote, location="http://127.0.0.1:9/model.pth")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9/model\.pth could not be fetched .* put it at"):
        zoo_folder(entry, cache_dir=tmp_path / "cache")
