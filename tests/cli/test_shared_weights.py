"""`--weights` takes saved folders, names of the model zoo and hub ids, and writes nothing into them."""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from reldn_cli.commands import COMMANDS
from reldn_cli.main import parse
from reldn_d2.checkpoint import read_checkpoint
from reldn_d2.cli import common
from reldn_d2.cli import train as train_command
from reldn_d2.cli.common import find_weights, load_run_config
from reldn_d2.engine import RelationPredictor, load_config
from reldn_d2.engine.pretrained import find
from reldn_d2.model_zoo import zoo_entry
from reldn_d2.utils.io import file_digest
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.local_hub import LocalHub, local_hub
from tests.builders.own_data import small_party
from tests.builders.saved_models import SMALL, SUMS, content, no_network, photo, small_predictor
from tests.builders.tiny_models import TINY

NAME = "jane/cups"
TEST_SET = "reldn_scenes_tiny_test"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "saved"
    small_predictor(folder.parent / "trained").save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a photo."""
    folder = tmp_path / "work"
    folder.mkdir()
    cv2.imwrite(str(folder / "photo.png"), photo())
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hub(tmp_path: Path, saved: Path) -> Iterator[LocalHub]:
    with local_hub(tmp_path / "cache") as found:
        found.add(NAME, saved)
        yield found


def predict(weights: object) -> list[object]:
    return ["predict", "--weights", weights, "--input", "photo.png"]


def graph_of(weights: object) -> Any:
    output = f"graphs_{len([*Path().iterdir()])}"
    assert run_reldn(*predict(weights), "--output", output, "--score-threshold", "0") == 0
    (file,) = Path(output).glob("*.json")
    return json.loads(file.read_text())


def test_commands_take_a_saved_folder(saved: Path, work: Path) -> None:
    before = content(saved)
    with no_network():
        graph = graph_of(saved)
        assert graph["relationships"] and graph_of(saved / "model.safetensors") == graph
        words = ("--weights", saved, "--dataset", TEST_SET)
        assert run_reldn("evaluate", *words, "--protocol", "motifs", "--task", "prdcls") == 0
    assert (work / "output" / "inference" / TEST_SET / "prdcls" / "relation_results.csv").is_file()
    assert content(saved) == before


def test_a_training_starts_from_a_saved_folder(saved: Path, work: Path) -> None:
    given = [
        *("--config-file", saved / "config.yaml", "--weights", saved, "--output", "run"),
        *("DATASETS.TRAIN", f"('{TEST_SET}',)"),
        *("SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()"),
    ]
    assert run_reldn("train", *given) == 0
    files = (work / "run" / "model_final.pth", saved / "model.safetensors")
    found, start = map(read_checkpoint, files)
    assert found["vocabulary"] == start["vocabulary"] and found["model"].keys() == start["model"].keys()
    assert any(not found["model"][name].equal(x) for name, x in start["model"].items())


def test_detections_of_a_saved_folder_need_the_config_of_a_detector(
    saved: Path, work: Path, capsys: Captured
) -> None:
    words = ["cache-detections", "--weights", saved, "--dataset", TEST_SET]
    assert "give the config of stage 1" in line_of_refusal(capsys, *words)
    before = content(saved)
    config = load_config("scenes/detector.yaml", [*TINY, *SMALL, "MODEL.WEIGHTS", ""])
    config.OUTPUT_DIR = "out"
    (work / "detector.yaml").write_text(config.dump())
    assert run_reldn(*words, "--config-file", "detector.yaml") == 0
    assert (work / "out" / "detections" / f"{TEST_SET}.npz").is_file()
    assert content(saved) == before


def test_what_a_saved_folder_does_not_say_is_asked_for(saved: Path, capsys: Captured) -> None:
    assert "DATASETS.TEST" in line_of_refusal(capsys, "evaluate", "--weights", saved)


def test_a_model_of_the_hub_is_fetched_and_kept(saved: Path, hub: LocalHub, tmp_path: Path) -> None:
    assert graph_of(NAME) == graph_of(saved)
    cache = content(tmp_path / "cache")
    assert run_reldn("evaluate", "--weights", NAME, "--dataset", TEST_SET, "--protocol", "motifs") == 0
    assert content(tmp_path / "cache").keys() == cache.keys()


def test_options_after_the_question_mark(saved: Path, hub: LocalHub, capsys: Captured) -> None:
    digest, other = file_digest(saved / SUMS), "0" * 64
    hub.repositories[NAME].refs["v1+x"] = hub.repositories[NAME].refs["main"]
    assert graph_of(f"{NAME}?revision=v1+x&sha256={digest}") == graph_of(f"{saved}?sha256={digest}")
    assert find_weights(f"{NAME}?revision=v1%2Bx") == find_weights(f"{NAME}?revision=v1+x")
    for weights in (f"{NAME}?sha256={other}", f"{saved}?sha256={other}"):
        message = line_of_refusal(capsys, *predict(weights))
        assert f"its {SUMS} has sha256 {digest}, not {other}" in message
    assert "has no revision 'v2'" in line_of_refusal(capsys, *predict(f"{NAME}?revision=v2"))
    message = line_of_refusal(capsys, *predict(f"{NAME}?branch=v1"))
    assert "the options of a model are sha256=DIGEST, revision=NAME and trust=True" in message


def test_a_damaged_folder_is_one_line(saved: Path, tmp_path: Path, capsys: Captured) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name, text in content(saved).items():
        (broken / name).write_bytes(text)
    (broken / "config.yaml").write_text("MODEL: {}")
    train = ["train", "--config-file", "scenes/reldn.yaml", "--weights", broken]
    for command in (predict(broken), ["evaluate", "--weights", broken], train):
        message = line_of_refusal(capsys, *command)
        assert f"{broken}: config.yaml is damaged or was changed" in message
    (broken / SUMS).unlink()
    assert f"has no {SUMS}" in line_of_refusal(capsys, "evaluate", "--weights", broken)


def test_a_name_of_the_model_zoo(
    saved: Path, work: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved folder as if it were in the wheel."""
    entry = replace(
        zoo_entry("authors-vg-vgg16"), name="cups", source="wheel", location=str(saved), file=None
    )
    for module in (find, common):
        monkeypatch.setattr(module, "zoo_names", lambda: ["cups"])
    monkeypatch.setattr(find, "zoo_entry", lambda _: entry)
    with no_network():
        assert graph_of("cups") == graph_of(saved)
    assert "only there are revisions" in line_of_refusal(capsys, *predict("cups?revision=v1"))
    (work / "cups").mkdir()
    assert "this folder has no finished training" in line_of_refusal(capsys, *predict("cups"))


def test_the_device_is_this_machines_unless_it_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def device(*words: str) -> str:
        args: Namespace = parse(COMMANDS["predict"], [*map(str, predict(saved)[1:]), *words])
        cfg = load_run_config(args, ("weights", "device"), weights=find_weights(str(saved))).cfg
        return str(cfg.MODEL.DEVICE)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device() == "cpu" and device("--device", "cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device() == "cuda" and device("MODEL.DEVICE", "cpu") == "cpu"
    # The user's own config names a device.
    assert device("--config-file", str(saved / "config.yaml")) == "cpu"


def test_sha256_and_trust_are_options_of_the_weights(capsys: Captured) -> None:
    """They become what follows the question mark, where commands read them."""
    digest = "a" * 64
    for words, expected in [
        (["x"], "x"),
        (["x", "--trust"], "x?trust=True"),
        (["x", "--sha256", digest], f"x?sha256={digest}"),
        (["x?revision=v1", "--sha256", digest, "--trust"], f"x?revision=v1&sha256={digest}&trust=True"),
    ]:
        assert parse(COMMANDS["evaluate"], ["--weights", *words]).weights == expected
    with pytest.raises(SystemExit):
        parse(COMMANDS["evaluate"], ["--config-file", "x.yaml", "--trust"])
    assert "give --weights, too" in capsys.readouterr().err


def test_a_recipe_takes_the_same_weights(
    saved: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []
    monkeypatch.setattr(train_command, "train_small", lambda *_, weights, **__: found.append(weights))
    start = ["train", "--recipe", "small", "--data", small_party(tmp_path / "party"), "--weights"]
    digest = file_digest(saved / SUMS)
    for words in ([saved], [saved, "--sha256", digest], [saved / "model.safetensors"], ["scratch"]):
        assert run_reldn(*start, *words) == 0
    assert run_reldn(*start[:-1]) == 0
    assert found == [*[str(saved / "model.safetensors")] * 3, "scratch", None]
    message = line_of_refusal(capsys, *start, saved, "--sha256", "0" * 64)
    assert f"its {SUMS} has sha256 {digest}, not {'0' * 64}" in message
    assert "there is no such file or folder" in line_of_refusal(capsys, *start, "gone.pth")


@pytest.mark.parametrize("kind", ["file", "training", "address", "name of Detectron2"])
def test_trust_is_for_names_of_the_model_zoo(kind: str, tmp_path: Path, capsys: Captured) -> None:
    training = tmp_path / "training"
    training.mkdir()
    (training / "model_final.pth").touch()
    weights = {
        "file": training / "model_final.pth",
        "training": training,
        "address": "https://host/model.pth",
        "name of Detectron2": "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
    }[kind]
    assert line_of_refusal(capsys, *predict(weights), "--trust") == (
        f"--weights {weights} is no name of this package's model zoo, and --trust is only for these: leave "
        "--trust (or trust=True) out"
    )


def test_a_digest_is_kept_for_every_kind_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_final.pth").touch()
    monkeypatch.setattr(common, "_zoo_address", lambda name: f"https://host/{name}.pkl")
    options = f"?sha256={'a' * 64}"
    for weights in (tmp_path, tmp_path / "model_final.pth", "https://host/model.pth", "a/b.yaml"):
        assert find_weights(f"{weights}{options}").address.endswith(options)


def test_the_picture_of_a_model(scenes_tiny: RelationPredictor, work: Path) -> None:
    assert run_reldn("predict", "--weights", "scenes-tiny", "--device", "cpu") == 0
    graph = json.loads((work / "predictions" / "sample.json").read_text())
    sample = zoo_entry("scenes-tiny").sample
    assert sample is not None
    assert graph == scenes_tiny(sample).to_dict(top_k=20, score_threshold=0.1)


def test_other_models_bring_no_picture(saved: Path, capsys: Captured) -> None:
    line = line_of_refusal(capsys, "predict", "--weights", saved)
    assert "brings no picture with it: name images or folders as --input" in line
