"""`reldn predict --format shards`, with a predictor that needs no weights."""

import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from reldn_d2.scene_graphs import read_graphs
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.fake_predictor import FakePredictor, PredictCommand, write_picture
from tests.builders.tiny_models import TinyConfig


@pytest.fixture
def predict(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> PredictCommand:
    for name in ("a", "b", "c"):
        write_picture(tmp_path / "in" / f"{name}.png")
    return PredictCommand(tmp_path, tiny_config("MODEL.DEVICE", "cpu"), monkeypatch)


def words(predict: PredictCommand, *more: object) -> list[object]:
    folder = predict.output.with_name("in")
    return predict.words("--input", folder, "--format", "shards", "--shard-size", "2", *more)


def rows(predict: PredictCommand) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(predict.output / "shards").to_pylist()
    return found


def test_a_run_and_its_resume(predict: PredictCommand, capsys: Captured) -> None:
    write_picture(predict.output.with_name("in") / "bad.png", rows=13)
    assert run_reldn(*words(predict)) == 1
    out, err = capsys.readouterr()
    assert "predicted the scene graphs of 3 of 4 images; the results are in" in out
    assert "1 image has no graph; the column `error` of the table says why\n" in out
    assert err.splitlines() == [
        f"{predict.output.with_name('in')}/bad.png can't be used: 13 rows are bad luck"
    ]
    found = rows(predict)
    assert [Path(x["path"]).name for x in found] == ["a.png", "b.png", "bad.png", "c.png"]
    assert predict.results() == ["shards"]
    assert len(list((predict.output / "shards").iterdir())) == 2
    FakePredictor.seen.clear()
    assert run_reldn(*words(predict, "--resume")) == 1
    assert "(4 of them before)" in capsys.readouterr().out
    assert not FakePredictor.seen and rows(predict) == found
    # Without --resume, all images are predicted again.
    assert run_reldn(*words(predict)) == 1
    assert len(FakePredictor.seen) == 4 and rows(predict) == found


def test_more_images_are_added(predict: PredictCommand, capsys: Captured) -> None:
    assert run_reldn(*words(predict)) == 0
    write_picture(predict.output.with_name("in") / "d.png")
    FakePredictor.seen.clear()
    assert run_reldn(*words(predict, "--resume")) == 0
    assert [Path(x).name for x in FakePredictor.seen] == ["c.png", "d.png"]
    assert "1 shard was written again, because the input has other images now" in capsys.readouterr().out
    assert [Path(x["path"]).stem for x in rows(predict)] == [*"abcd"]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names of files are texts there")
def test_a_folder_whose_name_is_no_text(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff")
    predict.output = folder / "results"
    write_picture(folder / "in" / "a.png")
    assert run_reldn(*words(predict)) == 0
    capsys.readouterr()
    assert run_reldn(*words(predict, "--resume")) == 0
    assert "(1 of them before)" in capsys.readouterr().out
    assert len(list(read_graphs(predict.output / "shards", file_format="shards"))) == 1
    with (folder / "images.parquet").open("wb") as file:
        pyarrow.parquet.write_table(pyarrow.table({"path": [str(tmp_path / "in" / "a.png")]}), file)
    given = predict.words("--input", folder / "images.parquet", "--format", "shards", "--overwrite")
    assert run_reldn(*given) == 0
    assert "graphs of 1 of 1 images" in capsys.readouterr().out


def test_other_options_are_another_run(predict: PredictCommand, capsys: Captured) -> None:
    assert run_reldn(*words(predict)) == 0
    message = line_of_refusal(capsys, *words(predict, "--top-k", "5", "--resume"))
    assert "has results of another run: --top-k was 20, now 5" in message
    assert line_of_refusal(
        capsys, *predict.words("--input", predict.output.with_name("in"), "--format", "json")
    )
    assert run_reldn(*words(predict, "--top-k", "1", "--overwrite")) == 0
    assert {len(x["relationships"]) for x in rows(predict)} == {1}
    # Another format may replace them, and they another format.
    other = predict.words("--input", predict.output.with_name("in"), "--format", "json", "--overwrite")
    assert run_reldn(*other) == 0 and predict.results() == ["a.json", "b.json", "c.json"]
    assert run_reldn(*words(predict, "--overwrite")) == 0 and predict.results() == ["shards"]


def test_weights_of_another_training_are_refused_by_digest(
    predict: PredictCommand, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_reldn(*words(predict)) == 0
    monkeypatch.setattr(FakePredictor, "weight", 1.0)
    assert "weights (sha256) was " in line_of_refusal(capsys, *words(predict, "--resume"))


def test_foreign_files_in_the_folder_are_refused(predict: PredictCommand, capsys: Captured) -> None:
    assert run_reldn(*words(predict)) == 0
    path = next((predict.output / "shards").iterdir())
    table, metadata = pyarrow.parquet.read_table(path), pyarrow.parquet.read_schema(path).metadata
    other = table.rename_columns(["file", *table.column_names[1:]]).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(other, path)
    message = line_of_refusal(capsys, *words(predict, "--resume"))
    assert f"{path} has other columns" in message and "no input; file more" in message
    # Nobody has written these.
    (predict.output / "record" / "run.json").unlink()
    assert "no record of a run that wrote them" in line_of_refusal(capsys, *words(predict))


def test_ctrl_c_keeps_the_finished_shards(predict: PredictCommand, capsys: Captured) -> None:
    write_picture(predict.output.with_name("in") / "c.png", rows=17)
    assert run_reldn(*words(predict)) == 130
    assert "2 images have a row in" in capsys.readouterr().err
    write_picture(predict.output.with_name("in") / "c.png")
    FakePredictor.seen.clear()
    assert run_reldn(*words(predict, "--resume")) == 0
    assert [Path(x).name for x in FakePredictor.seen] == ["c.png"]
    assert predict.results() == ["shards"]


def test_a_table_of_images_with_ids(predict: PredictCommand, tmp_path: Path, capsys: Captured) -> None:
    table = pyarrow.table({"file": ["in/a.png", None, "in/a.png"], "number": ["x", "y", "z"]})
    pyarrow.parquet.write_table(table, tmp_path / "images.parquet")
    given = predict.words("--input", tmp_path / "images.parquet", "--format", "shards")
    assert run_reldn(*given, "--image-column", "file", "--id-column", "number") == 1
    assert [(x["row"], x["image_id"], x["error"] is None) for x in rows(predict)] == [
        (0, "x", True), (1, "y", False), (2, "z", True),
    ]  # fmt: skip
    message = line_of_refusal(capsys, *given, "--image-column", "picture", "--overwrite")
    assert "picture" in message and "file, number" in message


def test_options_that_do_not_fit(predict: PredictCommand, capsys: Captured) -> None:
    def said(*more: object) -> str:
        return usage_error(capsys, *predict.words("--input", predict.output.with_name("in"), *more))

    shards = ("--format", "shards")
    assert said("--engine", "ray") == "--engine ray writes shards alone: add --format shards"
    assert "--num-gpus is for --format shards" in said("--num-gpus", "2")
    assert "--shard-size is for --format shards" in said("--shard-size", "2")
    assert "stands alone" in said("--format", "shards", "json")
    assert "takes no --boxes" in said(*shards, "--boxes", "a.json")
    assert "--worker-cpus is for --engine ray" in said(*shards, "--worker-cpus", "2")
    assert "takes --workers" in said(*shards, "--engine", "ray", "--num-gpus", "2")
    assert "3:2 begins with the larger" in said(*shards, "--engine", "ray", "--workers", "3:2")
    assert "0 is not above 0" in said(*shards, "--engine", "ray", "--worker-memory", "0")


def test_ray_is_not_installed(
    predict: PredictCommand, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    message = line_of_refusal(capsys, *words(predict, "--engine", "ray"))
    assert (
        message
        == "for --engine ray, install the package ray: pip install 'reldn-d2[ray]', or pip install ray"
    )
    assert not predict.output.exists()
