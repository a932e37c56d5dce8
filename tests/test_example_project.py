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


def test_its_annotations_are_counted(output: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    from shapes import load_shapes

    counts = np.zeros((2, 2, 3))
    for image in load_shapes(tmp_path, 40):
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
    assert ("reldn_d2.modeling", "RelDN") in imported
    for module, name in imported:
        assert name in __import__(module, fromlist=["__all__"]).__all__, (module, name)
