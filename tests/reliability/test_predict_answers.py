"""`reldn predict` with a real model: its graphs are those of the predictor, alone and in batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import GivenBoxes, RelationPredictor, vocabulary_of
from tests.builders.commands import Captured, run_reldn
from tests.builders.tiny_models import TinyConfig, make_model

SIZES = [(96, 72), (72, 96), (96, 72), (120, 90), (72, 96), (96, 72)]


@pytest.fixture
def run(tmp_path: Path, tiny_config: TinyConfig) -> Path:
    """The folder of a model, and six photos of noise in two shapes."""
    folder = tmp_path / "run"
    cfg = tiny_config("MODEL.DEVICE", "cpu")
    RelationCheckpointer(
        make_model(cfg), str(folder), vocabulary=vocabulary_of("reldn_scenes_tiny_train")
    ).save("model_final")
    (folder / "config.yaml").write_text(cfg.dump())
    random = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        path = tmp_path / "in" / f"sub{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return folder


def images(run: Path) -> list[Path]:
    return sorted((run.parent / "in").rglob("*.png"))


def predictor_of(run: Path, tiny_config: TinyConfig) -> RelationPredictor:
    return RelationPredictor(
        tiny_config("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(run / "model_final.pth"))
    )


def predict(run: Path, output: str, *words: object) -> list[dict[str, Any]]:
    """The graphs that the command writes, in the order of the images."""
    folder = run.parent / output
    more = ("--score-threshold", "0", "--output", folder, "--format", "json", *words)
    assert run_reldn("predict", "--weights", run, "--input", run.parent / "in", *more) == 0
    return [json.loads((folder / f"{image.stem}.json").read_text()) for image in images(run)]


def test_graphs_are_those_of_the_predictor(run: Path, tiny_config: TinyConfig) -> None:
    predictor = predictor_of(run, tiny_config)
    graphs = predict(run, "alone")
    for image, graph in zip(images(run), graphs, strict=True):
        expected = predictor(image).to_dict(top_k=20)
        assert graph["image"].pop("file_name") == image.relative_to(run.parent / "in").as_posix()
        del expected["image"]["file_name"]  # type: ignore[misc]
        assert graph == expected and len(graph["relationships"]) == 20


def test_given_boxes(run: Path, tiny_config: TinyConfig, capsys: Captured) -> None:
    predictor = predictor_of(run, tiny_config)
    boxes = [[5, 5, 40, 40], [30, 20, 200, 60]]  # one reaches beyond every image
    names = list(predictor.thing_classes[:2])
    for given in (
        {"boxes": boxes},
        {"boxes": boxes, "classes": names},
        {"boxes": boxes, "classes": names, "scores": [0.9, 0.8]},
        {"boxes": [], "classes": []},
    ):
        file = run.parent / "boxes.json"
        file.write_text(json.dumps({image.name: given for image in images(run)}))
        graphs = predict(run, "given", "--boxes", file, "--overwrite")
        assert ("clipped to the image: 6 given boxes in 6 images" in capsys.readouterr().out) == bool(
            given["boxes"]
        )
        for image, graph in zip(images(run), graphs, strict=True):
            expected = predictor(
                image, boxes=GivenBoxes(given["boxes"], given.get("classes"), given.get("scores"))
            )
            assert graph["entities"] == expected.to_dict()["entities"]
            assert graph["relationships"] == expected.to_dict(top_k=20)["relationships"]


def test_tables_have_the_rows_of_the_graphs(run: Path) -> None:
    graphs = predict(run, "tables", "--format", "json", "jsonl", "csv", "parquet", "drawings")
    folder = run.parent / "tables"
    assert [json.loads(line) for line in (folder / "graphs.jsonl").read_text().splitlines()] == graphs
    rows = pq.read_table(folder / "triplets.parquet").to_pylist()
    lines = (folder / "triplets.csv").read_text().splitlines()
    assert lines == [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    expected = [(graph, found) for graph in graphs for found in graph["relationships"]]
    for row, (graph, found) in zip(rows, expected, strict=True):
        subject, target = (graph["entities"][found[role]] for role in ("subject", "object"))
        assert row["image"] == graph["image"]["file_name"] and row["score"] == found["score"]
        assert (row["subject"], row["predicate"], row["object"]) == (
            subject["class"],
            found["predicate"],
            target["class"],
        )
        assert (row["subject_id"], row["object_id"]) == (subject["id"], target["id"])
        assert (row["subject_score"], row["object_score"]) == (subject["score"], target["score"])
        assert row["predicate_score"] == found["predicate_score"]
        parts = row["subject_score"] * row["predicate_score"] * row["object_score"]
        assert row["score"] == pytest.approx(parts, rel=1e-5)
        corners = ("x0", "y0", "x1", "y1")
        assert [row[f"subject_{corner}"] for corner in corners] == subject["box"]
        assert [row[f"object_{corner}"] for corner in corners] == target["box"]


def test_thin_pictures_stop_no_others(run: Path, capsys: Captured) -> None:
    thin = run.parent / "in" / "thin.png"
    Image.new("RGB", (8000, 3)).save(thin)
    words = (
        "--weights",
        run,
        "--input",
        run.parent / "in",
        "--output",
        run.parent / "out",
        "--format",
        "json",
    )
    for batch_size in (1, 4):
        assert run_reldn("predict", *words, "--batch-size", batch_size) == 1
        printed = capsys.readouterr()
        assert "6 of 7 images" in printed.out
        assert printed.err.startswith(f"{thin} can't be used: an image of 8000 x 3 pixels can't be resized")
        assert len(list((run.parent / "out").glob("*.json"))) == 6
