"""The folder of a run, which may come from anybody, is all that prediction and evaluation need."""

import json
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import load_config, parts_of, vocabulary_of
from tests.builders.commands import run_reldn
from tests.builders.tiny_models import TinyConfig, calm_down, make_model
from tests.builders.tiny_runs import KINDS, arguments


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, tiny_config: TinyConfig) -> Path:
    """The folder of a finished run, whose config names places that do not exist any more."""
    given = arguments(request.param, output=tmp_path / "elsewhere", weights=tmp_path / "gone.pth")
    run = tmp_path / "run"
    parts_of(load_config(given.config_file, given.opts)).save(run / "config.yaml")
    model = make_model(tiny_config())
    calm_down(model)
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(model, str(run), vocabulary=vocabulary).save("model_final")
    return run


def test_a_folder_of_weights_predicts_and_evaluates(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    config = (folder / "config.yaml").read_bytes()
    image = DatasetCatalog.get("reldn_scenes_tiny_test")[0]["file_name"]
    assert run_reldn("predict", "--weights", folder, "--input", image, "--output", tmp_path / "graphs") == 0
    (graph,) = (tmp_path / "graphs").glob("*.json")
    assert json.loads(graph.read_text())["entities"]
    assert run_reldn("evaluate", "--weights", folder, "--protocol", "motifs") == 0
    assert (folder / "inference" / "reldn_scenes_tiny_test" / "prdcls" / "relation_results.csv").is_file()
    assert (folder / "config.yaml").read_bytes() == config
    assert not (tmp_path / "elsewhere").exists() and not list(work.iterdir())


def no_network(*_: Any, **__: Any) -> Any:
    raise AssertionError("the hub was asked")


def test_a_model_name_beside_weights_asks_no_hub(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timm.models._factory.load_model_config_from_hf", no_network)
    file, text = folder / "config.yaml", (folder / "config.yaml").read_text()
    if "OUTPUT_DIR" in text:
        text = text.replace("tf_efficientnet_lite0", "hf-hub:x/y")
        text = text.replace("build_resnet_fpn_backbone", "build_reldn_timm_fpn_backbone")
    else:
        text = text.replace(
            "_target_: detectron2.modeling.ResNet\n", "_target_: reldn_d2.modeling.TimmBackbone\n"
        )
        text = text.replace("num_classes: 6", "num_classes: 6\n    name: hf-hub:x/y")
    file.write_text(text)
    assert run_reldn("evaluate", "--weights", folder) == 2
    error = capsys.readouterr().err
    assert "'hf-hub:x/y', but what lies beside weights names nothing outside" in error
    assert f"--config-file {file}" in error
