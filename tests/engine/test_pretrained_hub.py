"""Models on the hub, which is a server on this machine: what is up- and downloaded, and what goes wrong."""

import inspect
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants, hub_mixin

import reldn_d2
from reldn_d2.engine import ModelInfo, RelationPredictor, find_pretrained
from reldn_d2.engine.pretrained import hub as hub_module
from reldn_d2.engine.pretrained import model as pretrained_model
from reldn_d2.engine.pretrained.folder import FILES
from reldn_d2.utils.io import file_digest
from tests.builders.local_hub import TOKEN, LocalHub, Repository, local_hub
from tests.builders.saved_models import SUMS, content, no_network, numbers, photo, small_predictor

NAME = "jane/cups"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> RelationPredictor:
    return small_predictor(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def saved(predictor: RelationPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    predictor.save_pretrained(folder)
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with local_hub(tmp_path / "cache") as found:
        yield found


def refusal(name: str = NAME, **options: Any) -> str:
    with pytest.raises((OSError, ValueError)) as error:
        find_pretrained(name, **options)
    return str(error.value)


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function that have names, and their defaults."""
    found = inspect.signature(function).parameters.values()
    return {x.name: x.default for x in found if x.kind is x.KEYWORD_ONLY}


# --- there and back


def test_a_model_comes_back_as_it_was_pushed(
    predictor: RelationPredictor, hub: LocalHub, tmp_path: Path
) -> None:
    info = ModelInfo(license="cc-by-4.0", data_notice="Photos by Jörg.")
    address = predictor.push_to_hub(NAME, info=info, token=TOKEN)
    assert address == f"{hub.address}/{NAME}/commit/{hub.repositories[NAME].refs['main']}"
    assert hub.repositories[NAME].private is None and len(hub.commits) == 1
    files = hub.files(NAME)
    assert files.keys() == {*FILES, ".gitattributes"}
    assert f'reldn_d2.from_pretrained("{NAME}")'.encode() in files["README.md"]
    # What else lies there is not fetched.
    hub.repositories[NAME].commit("main", {**files, "pytorch_model.bin": b"pickle", "a/config.yaml": b""})
    loaded = reldn_d2.from_pretrained(NAME, device="cpu")
    assert loaded.info == info
    found, expected = numbers(loaded(photo())), numbers(predictor(photo()))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    names = {Path(name).name for name in content(tmp_path / "cache") if "/snapshots/" in name}
    assert names == set(FILES)
    # Again, from the cache alone.
    before = len(hub.requests)
    with no_network():
        cached = find_pretrained(NAME, local_files_only=True)
    assert cached.weights_file.is_symlink() and cached.info == info and len(hub.requests) == before


def test_arguments_are_those_of_the_librarys_own_mixin(
    predictor: RelationPredictor, hub: LocalHub, tmp_path: Path
) -> None:
    """Whoever knows `ModelHubMixin` finds the same arguments with the same effects."""
    ours, theirs = (arguments(x.push_to_hub) for x in (RelationPredictor, hub_mixin.ModelHubMixin))
    assert theirs.keys() - ours.keys() == {"config", "model_card_kwargs"}
    assert all(ours[name] == theirs[name] for name in theirs.keys() & ours.keys() - {"commit_message"})
    ours, theirs = (arguments(x.from_pretrained) for x in (RelationPredictor, hub_mixin.ModelHubMixin))
    assert theirs.items() <= ours.items()

    predictor.push_to_hub("cups", private=True, token=TOKEN, commit_message="The first one")
    assert hub.repositories["me/cups"].private
    predictor.push_to_hub("me/cups", create_pr=True, token=TOKEN, ignore_patterns="*.md")
    assert [(x["summary"], x["ref"]) for x in hub.commits] == [
        ("The first one", "main"),
        ("Upload a model of reldn_d2", "refs/pr/1"),
    ]
    hub.repositories["me/cups"].commit("dev", {"old.bin": b"", "kept.txt": b""})
    predictor.push_to_hub(
        "me/cups", branch="dev", token=TOKEN, delete_patterns="*.bin", allow_patterns=["config.yaml"]
    )
    assert hub.files("me/cups", "dev").keys() == {"kept.txt", "config.yaml"}


def test_saving_uploads_if_asked(predictor: RelationPredictor, hub: LocalHub, tmp_path: Path) -> None:
    address = predictor.save_pretrained(tmp_path / "mugs", push_to_hub=True, token=TOKEN)
    assert address and address.startswith(f"{hub.address}/me/mugs/commit/")
    assert hub.files("me/mugs")["model.safetensors"] == (tmp_path / "mugs" / "model.safetensors").read_bytes()
    predictor.save_pretrained(tmp_path / "mugs", repo_id=NAME, push_to_hub=True, token=TOKEN)
    assert NAME in hub.repositories
    assert predictor.save_pretrained(tmp_path / "plates", repo_id=NAME) is None
    assert "me/plates" not in hub.repositories
    assert NAME in (tmp_path / "plates" / "README.md").read_text()


def test_the_saved_folder_is_what_is_uploaded(
    predictor: RelationPredictor, hub: LocalHub, tmp_path: Path
) -> None:
    folder = tmp_path / "mugs"
    predictor.save_pretrained(folder, push_to_hub=True, token=TOKEN)
    assert 'from_pretrained("me/mugs")' in (folder / "README.md").read_text()
    find_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nMy own words.")
    (folder / "private.txt").write_text("Not for others.")
    predictor.save_pretrained(folder, push_to_hub=True, token=TOKEN, allow_patterns=["*.md", "*.txt", SUMS])
    uploaded, local = hub.files("me/mugs"), content(folder)
    del uploaded[".gitattributes"], local["private.txt"]
    assert uploaded == local and uploaded["README.md"].endswith(b"My own words.")


def test_what_can_not_be_saved_leaves_nothing_on_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    broken = small_predictor(tmp_path / "trained")
    with torch.no_grad():
        next(iter(broken.model.parameters())).view(-1)[0] = float("nan")
    for save in (broken.push_to_hub, partial(broken.save_pretrained, tmp_path / "saved", push_to_hub=True)):
        with pytest.raises(ValueError, match="not finite"):
            save(repo_id=NAME, token=TOKEN)
    with pytest.raises(TypeError, match="unexpected keyword argument 'privat'"):
        broken.save_pretrained(tmp_path / "saved", push_to_hub=True, privat=True)
    assert not hub.repositories and not hub.requests and not (tmp_path / "saved").exists()


def test_a_revision_is_a_branch_a_tag_or_a_commit(
    predictor: RelationPredictor, saved: Path, hub: LocalHub, tmp_path: Path
) -> None:
    predictor.save_pretrained(tmp_path / "second", info=ModelInfo(license="mit"))
    hub.add(NAME, saved, "v1")
    hub.add(NAME, tmp_path / "second")
    commit = hub.repositories[NAME].refs["v1"]
    licenses = [find_pretrained(NAME, revision=x).info for x in (None, "main", "v1", commit)]
    assert [x and x.license for x in licenses] == ["mit", "mit", "", ""]
    assert refusal(revision="v3") == (
        f"{hub.address}/{NAME} has no revision 'v3': give a branch, a tag or a whole commit of "
        f"{hub.address}/{NAME}/tree/main. There is no folder {NAME} here, either"
    )


def test_a_folder_of_this_machine_comes_first(
    saved: Path, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / NAME)
    assert find_pretrained(NAME).path == Path(NAME)
    assert not hub.requests


# --- digests


def test_a_known_digest_is_compared_before_anything_is_read(
    saved: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, saved)
    digest = file_digest(saved / SUMS)
    assert find_pretrained(NAME, sha256=digest).info == ModelInfo()

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a file was read before its digest was compared")

    monkeypatch.setattr(ModelInfo, "from_json", read)
    monkeypatch.setattr(pretrained_model, "load_config", read)
    with pytest.raises(ValueError) as error:
        reldn_d2.from_pretrained(NAME, sha256="1" * 64)
    assert str(error.value).startswith(
        f"{NAME} is not the expected model: its {SUMS} has sha256 {digest}, not {'1' * 64}. No other file of"
    )


def test_what_is_no_model_of_ours_or_is_damaged_is_named(saved: Path, hub: LocalHub) -> None:
    hub.repositories["jane/other"] = Repository()
    hub.repositories["jane/other"].commit("main", {"config.json": b"{}", "README.md": b"", "NOTICE": b""})
    assert refusal("jane/other") == (
        f"jane/other has no {SUMS}, and it lacks model.safetensors, config.yaml, model.json: it is no whole "
        "model that this package has saved. Get it again, or give another"
    )
    hub.repositories["jane/empty"] = Repository()
    hub.repositories["jane/empty"].commit("main", {"model.bin": b""})
    assert f"jane/empty has no {SUMS}" in refusal("jane/empty")
    hub.add(NAME, saved, **{"model.safetensors": b"other weights"})
    assert f"{NAME}: model.safetensors is damaged or was changed" in refusal()


# --- what goes wrong on the way


def test_repositories_that_this_user_may_not_read(hub: LocalHub) -> None:
    place = f"{hub.address}/{NAME}"
    remedy = "check the name; if it is right, log in with `hf auth login`, or give a token"
    assert refusal().startswith(f"{place} does not exist, or is private: {remedy}")
    hub.repositories[NAME] = Repository(gated=True)
    assert refusal().startswith(f"{place} is open only to users who have accepted its conditions")


def test_a_token_is_handed_on(saved: Path, hub: LocalHub) -> None:
    hub.add(NAME, saved)
    hub.repositories[NAME].private = True
    assert "does not exist, or is private" in refusal(token=False)
    hub.tokens.clear()
    assert find_pretrained(NAME, token="hf_another").info == ModelInfo()
    assert hub.tokens == {"Bearer hf_another"}


def test_uploads_that_are_refused(predictor: RelationPredictor, hub: LocalHub) -> None:
    with pytest.raises(
        OSError, match=r"could not be written .*401.*rights of your token \(`hf auth login`\)"
    ):
        predictor.push_to_hub(NAME, token="hf_wrong")
    assert not hub.repositories
    predictor.push_to_hub(NAME, token=TOKEN)
    with pytest.raises(FileNotFoundError, match="has no revision 'dev': create the branch there first, or"):
        predictor.push_to_hub(NAME, token=TOKEN, branch="dev")


def test_without_a_network_the_cache_answers(saved: Path, tmp_path: Path) -> None:
    with local_hub(tmp_path / "cache") as hub:
        hub.add(NAME, saved)
        find_pretrained(NAME)
        address = hub.address
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        assert find_pretrained(NAME).info == ModelInfo()
        other = refusal("jane/mugs")
        assert other.startswith(f"{address}/jane/mugs could not be fetched (Connect")
        assert (
            f"the cache {tmp_path / 'cache'} does not have it: check the network, or download it where"
            in other
        )
        assert "`hf download jane/mugs --local-dir FOLDER`" in other and "local_files_only=True" in other
        with no_network():
            found = refusal("jane/mugs", local_files_only=True)
            assert (
                "is not completely in the cache" in found and "local_files_only allows no download" in found
            )
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
            assert find_pretrained(NAME).info == ModelInfo()
            assert "HF_HUB_OFFLINE allows no download: unset it" in refusal("jane/mugs")
            found = refusal(cache_dir=tmp_path / "other")
            assert f"{NAME} is not completely in the cache {tmp_path / 'other'}" in found


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("jane/cups", True),
        ("jane/cups.v2-b_c", True),
        ("cups", False),
        ("jane/cups/main", False),
        ("./cups", False),
        ("../cups", False),
        ("/cups", False),
        ("ow..ner/cups", False),
        ("owner/--none", False),
        ("owner/cups-", False),
        ("o/c", True),
        ("_owner_/_cups_", True),
        ("~/cups", False),
        ("jane/cups?x", False),
        ("jane\\cups", False),
    ],
)
def test_hub_ids(text: str, is_id: bool) -> None:
    assert hub_module.is_hub_id(text) is is_id
