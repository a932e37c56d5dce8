"""examples/tiny_project: another Detectron2 project that reuses RelDN, run as its README says."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.builders.tiny_models import REPOSITORY

PROJECT = REPOSITORY / "examples" / "tiny_project"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a short run of the project, started from another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    steps = ["--detector-steps", "2", "--relation-steps", "3"]
    subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), "--output", "made", *steps],
        cwd=folder,
        # The package of this checkout, not an installed one.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        check=True,
        capture_output=True,
        text=True,
    )
    return folder / "made"


def load(output: Path, stage: str) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(output / stage / "model_final.pth", weights_only=True)[
        "model"
    ]
    return weights


def test_it_finds_relationships_between_its_own_classes(output: Path) -> None:
    found = json.loads((output / "relationships.json").read_text())
    assert len(found) == 5
    for triplet in found:
        assert {triplet["subject"], triplet["object"]} <= {"square", "circle"}
        assert triplet["predicate"] in {"left of", "above"}
    scores = [triplet["score"] for triplet in found]
    assert scores == sorted(scores, reverse=True) and 0 < scores[-1] <= scores[0] <= 1


def test_its_detector_is_frozen_and_its_backbone_is_the_start_of_the_predicate_backbone(output: Path) -> None:
    detector, reldn = load(output, "detector"), load(output, "reldn")
    assert "backbone.layers.4.weight" in detector
    for name, value in detector.items():
        assert torch.equal(reldn[name], value), name
    for name in ("layers.0.weight", "layers.4.weight"):
        start, now = detector[f"backbone.{name}"], reldn[f"relation_backbone.{name}"]
        # Three steps change it only a little.
        assert 0 < (now - start).abs().max() < 0.02


def numbers(output: Path, stage: str) -> dict[str, float]:
    """All numbers that a stage logged, the last of each name."""
    lines = (output / stage / "metrics.json").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


def test_both_evaluators_see_both_stages_output(output: Path) -> None:
    detector, reldn = numbers(output, "detector"), numbers(output, "reldn")
    assert "bbox/AP" in detector and "bbox/AP" in reldn
    assert 0 <= reldn["sgdet/motifs/R@50"] <= 100
    assert not any(name.startswith("sgdet") for name in detector)


def test_its_hook_sees_the_lower_rate_of_the_predicate_backbone(output: Path) -> None:
    detector, reldn = numbers(output, "detector"), numbers(output, "reldn")
    assert detector["lowest_lr"] == pytest.approx(detector["lr"])
    assert reldn["lowest_lr"] == pytest.approx(reldn["lr"] / 10)


def test_its_log_has_the_messages_of_both_packages(output: Path) -> None:
    log = (output / "log.txt").read_text()
    # One mapper for training in each stage, and one without augmentation for evaluation.
    assert log.count("RandomBrightness") == 2
    assert log.count("Augmentations used in inference: [ResizeShortestEdge") == 2
    assert log.count("Starting training") == 2
    assert "WARNING" not in "".join(line for line in log.splitlines() if "reldn_d2.modeling" in line)


def test_it_has_the_same_images_from_the_function_and_from_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    from shapes import PREDICATES, SHAPES, load_shapes, register_shapes

    register_shapes(tmp_path)
    read, drawn = DatasetCatalog.get("shapes_test"), load_shapes(tmp_path / "test", range(1000, 1020))
    for image, expected in zip(read, drawn, strict=True):
        assert image["file_name"] == expected["file_name"]
        assert [tuple(row) for row in image["relations"]] == expected["relations"]
        assert [x["bbox"] for x in image["annotations"]] == [x["bbox"] for x in expected["annotations"]]
    for name in ("shapes_train", "shapes_test"):
        assert MetadataCatalog.get(name).thing_classes == SHAPES
        assert MetadataCatalog.get(name).predicate_classes == PREDICATES


def test_its_annotations_are_counted(output: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    from shapes import load_shapes

    counts = np.zeros((2, 2, 3))
    for image in load_shapes(tmp_path, range(40)):
        classes = [x["category_id"] for x in image["annotations"]]
        boxes = [x["bbox"] for x in image["annotations"]]
        related = {(s, o): p for s, o, p in image["relations"]}
        assert len(related) == len(image["relations"]) == 2
        for (s, o), p in related.items():
            side = 2 + p  # the right side for "left of", the lower side for "above"
            assert boxes[s][side] < boxes[o][p]
        for s in range(3):
            for o in range(3):
                if s != o:
                    counts[classes[s], classes[o], related.get((s, o), 2)] += 1
    counts[:, :, 2] += 1
    expected = np.log(counts / counts.sum(axis=2, keepdims=True) + 1e-3)
    table = load(output, "reldn")["relation_head.pair_classifier.semantic.log_prior"]
    np.testing.assert_allclose(table, expected, rtol=1e-5)


def test_it_uses_public_names_alone() -> None:
    imported = {
        (node.module, alias.name)
        for file in PROJECT.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reldn_d2")
        for alias in node.names
    }
    assert ("reldn_d2.engine", "RelationTraining") in imported
    for module, name in imported:
        assert name in __import__(module, fromlist=["__all__"]).__all__, (module, name)
