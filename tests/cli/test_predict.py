import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

SCRIPT = Path(__file__).parents[2] / "tools" / "predict.py"


class FakePredictor:
    """Finds a person on the left and a dog on the right."""

    thing_classes = ("person", "dog")
    predicate_classes = ("next to", "feeds")

    def __init__(self, cfg: object) -> None:
        self.images: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> dict[str, Instances]:
        height, width = image.shape[:2]
        self.images.append(image)
        entities, relations = Instances((height, width)), Instances((height, width))
        entities.pred_boxes = Boxes(
            torch.tensor([[0.0, 0, width / 3, height], [width / 2, 0, width, height]])
        )
        entities.scores, entities.pred_classes = torch.tensor([0.5, 0.5]), torch.tensor([0, 1])
        relations.subject_index, relations.object_index = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
        relations.pred_predicates, relations.rank_in_pair = torch.tensor([0, 1, 0]), torch.tensor([1, 2, 1])
        relations.scores = torch.tensor([0.5, 0.25, 0.125])
        return {"instances": entities, "relations": relations}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script with a predictor that needs no weights; `tool.calls` are the configurations asked for."""
    calls: list[tuple[str, list[str]]] = []
    monkeypatch.setattr("reldn_d2.engine.RelationPredictor", FakePredictor)
    monkeypatch.setattr("reldn_d2.engine.load_config", lambda file, opts: calls.append((file, opts)))
    spec = importlib.util.spec_from_file_location("predict_under_test", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["calls"] = calls
    yield module


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    (folder / "model.pth").write_text("")
    return folder / "model.pth"


def write_image(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 60, 3), value, np.uint8))
    return path


def run(tool: ModuleType, source: Path, weights: Path, *more: str) -> int:
    output = weights.parent.parent / "results"
    return int(tool.main(["--input", str(source), "--weights", str(weights), "--output", str(output), *more]))


def names(weights: Path) -> list[str]:
    return sorted(path.name for path in (weights.parent.parent / "results").iterdir())


def test_one_image(tool: ModuleType, weights: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(tool, image, weights, "--predicates-per-pair", "2", "--top-k", "2", "MODEL.DEVICE", "cpu") == 0
    assert names(weights) == ["a.json", "a.png"]
    graph = json.loads((tmp_path / "results" / "a.json").read_text())
    assert graph["image"] == {"file_name": "a.jpg", "width": 60, "height": 40}
    assert [r["predicate"] for r in graph["relationships"]] == ["next to", "feeds"]
    assert cv2.imread(str(tmp_path / "results" / "a.png")).shape == (533, 800, 3)
    config = str(weights.parent / "config.yaml")
    assert tool.calls == [(config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(weights)])]


def test_a_python_config_gets_the_weights_under_its_own_key(
    tool: ModuleType, weights: Path, tmp_path: Path
) -> None:
    config = tmp_path / "model.py"
    config.write_text("")
    image = write_image(tmp_path / "in" / "a.jpg")
    assert run(tool, image, weights, "--config-file", str(config), "train.device=cpu") == 0
    assert tool.calls == [(str(config), ["train.device=cpu", f"train.init_checkpoint={weights}"])]


def test_colours_keep_their_order(tool: ModuleType, weights: Path, tmp_path: Path) -> None:
    blue = np.zeros((900, 900, 3), np.uint8)
    blue[..., 0] = 200
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    run(tool, tmp_path / "blue.png", weights)
    drawing = cv2.imread(str(tmp_path / "results" / "blue.png"))
    assert (np.median(drawing, axis=(0, 1)) == [200, 0, 0]).all()


def test_a_folder_with_a_corrupt_image_is_finished(
    tool: ModuleType, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_image(folder / "a.jpg")
    whole = write_image(folder / "b.png", 7).read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "c.jpg").write_bytes(b"not an image")
    write_image(folder / "d.PNG")
    (folder / "notes.txt").write_text("not looked at")
    assert run(tool, folder, weights) == 1
    assert names(weights) == ["a.json", "a.png", "d.json", "d.png"]
    printed = capsys.readouterr()
    assert "2 of 4 images" in printed.out
    for name in ("b.png", "c.jpg"):
        assert re.search(rf"{name} cannot be read \(.+\): replace it, or take it out of --input", printed.err)


def test_images_of_one_stem_have_results_of_their_own(
    tool: ModuleType, weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "b.jpg"):
        write_image(folder / name)
    assert run(tool, folder, weights) == 0
    assert [name for name in names(weights) if name.endswith("json")] == [
        "a.jpg.json",
        "a.png.json",
        "b.jpg.json",
    ]
    graph = json.loads((tmp_path / "results" / "a.png.json").read_text())
    assert graph["image"]["file_name"] == "a.png"


def test_missing_files_are_named(tool: ModuleType, weights: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "in" / "a.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"--input .*nothing"):
        run(tool, tmp_path / "nothing", weights)
    with pytest.raises(ValueError, match="no image in this folder"):
        run(tool, tmp_path / "empty", weights)
    with pytest.raises(FileNotFoundError, match=r"--weights.*other\.pth"):
        run(tool, image, weights.parent / "other.pth")
    with pytest.raises(FileNotFoundError, match=r"--config-file.*c\.yaml"):
        run(tool, image, weights, "--config-file", str(tmp_path / "c.yaml"))


def test_results_never_replace_the_input(tool: ModuleType, weights: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "results" / "a.png")
    with pytest.raises(ValueError, match="own folder"):
        run(tool, tmp_path / "results", weights)
