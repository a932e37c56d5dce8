"""The command that measures the effect of `reldn predict --pad` compares batches with single images."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from reldn_d2.engine import RelationPredictor
from tests.builders.commands import Captured
from tools import measure_padding


def test_only_mixed_sizes_lose_something(
    scenes_tiny: RelationPredictor, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, size in enumerate([(96, 96), (192, 96), (96, 192), (96, 96)]):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    monkeypatch.setattr(RelationPredictor, "from_pretrained", lambda *_, **__: scenes_tiny)
    words = ["--input", str(tmp_path), "--weights", "scenes-tiny", "--entity-threshold", "0"]
    monkeypatch.setattr(sys, "argv", ["measure_padding.py", *words])
    measure_padding.main()
    title, header, _, one_size, several = capsys.readouterr().out.splitlines()
    assert title == "4 images, batches of up to 8"
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        *("batches", "entities lost", "relationships lost")
    ]
    assert one_size.split("|")[2].strip() == "0.0 %" != several.split("|")[2].strip()


def test_wrong_arguments_are_refused_in_one_line(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(folder: Path, *options: str) -> str:
        words = ["--input", str(folder), "--weights", "nowhere", *options]
        monkeypatch.setattr(sys, "argv", ["measure_padding.py", *words])
        with pytest.raises(SystemExit):
            measure_padding.main()
        return capsys.readouterr().err.splitlines()[-1]

    assert f"error: --input {tmp_path} has no image" in error(tmp_path)
    (tmp_path / "photo.png").touch()
    assert "error: --weights nowhere: there is no such file" in error(tmp_path)
    assert "error: argument --batch-size: 0 is not at least 1" in error(tmp_path, "--batch-size", "0")


def test_what_counts_as_found_again() -> None:
    def answer(shift: float, classes: list[int], predicates: list[int]) -> Any:
        boxes = torch.tensor([[0.0, 0, 50, 50], [20, 20, 90, 90]]) + shift
        scores = torch.tensor([0.9, 0.2])
        entities = Instances(
            (100, 100), pred_boxes=Boxes(boxes), pred_classes=torch.tensor(classes), scores=scores
        )
        relations = Instances(
            (100, 100),
            subject_index=torch.tensor([0, 1]),
            object_index=torch.tensor([1, 0]),
            pred_predicates=torch.tensor(predicates),
            scores=torch.tensor([0.8, 0.05]),
            rank_in_pair=torch.tensor([1, 1]),
        )
        return {"instances": entities, "relations": relations}

    first = answer(0, [3, 4], [1, 2])
    for other, entities, relationships in (
        (answer(0.5, [3, 4], [1, 2]), [True, True], [True, True]),
        (answer(9, [3, 4], [1, 2]), [False, False], [False, False]),
        (answer(0, [3, 5], [1, 2]), [True, False], [False, False]),
        (answer(0, [3, 4], [1, 0]), [True, True], [True, False]),
    ):
        assert measure_padding._entities_again(first, other, 0.0).tolist() == entities
        assert measure_padding._relationships_again(first, other, 20, 0.0).tolist() == relationships
        # What the image alone does not show is not counted.
        assert measure_padding._entities_again(first, other, 0.5).tolist() == entities[:1]
        assert measure_padding._relationships_again(first, other, 20, 0.1).tolist() == relationships[:1]
