"""The comparison of answers before and after packing, and the packing of a run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances

from reldn_d2.engine import RelationPredictor
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import save_random_weights
from tools import make_scenes_tiny
from tools.make_scenes_tiny import Differences, compare, pack

BOXES = [[0.0, 0, 40, 80], [30, 20, 50, 40], [60, 20, 80, 40]]
CLASSES = [0, 1, 1]


def answer(
    triplets: list[tuple[int, int, int, float]],
    boxes: list[list[float]] = BOXES,
    classes: list[int] = CLASSES,
) -> dict[str, Any]:
    """An answer with one predicate a pair: rows of subject, object, predicate and score."""
    entities = Instances((96, 96))
    entities.pred_boxes, entities.pred_classes = Boxes(torch.tensor(boxes)), torch.tensor(classes)
    relations = Instances((96, 96))
    rows = torch.tensor(triplets, dtype=torch.float64)
    relations.subject_index, relations.object_index, relations.pred_predicates = rows[:, :3].long().T
    relations.scores, relations.rank_in_pair = rows[:, 3], torch.ones(len(rows), dtype=torch.long)
    return {"instances": entities, "relations": relations}


def test_equal_answers_do_not_differ() -> None:
    one = answer([(0, 1, 4, 0.9), (0, 2, 4, 0.3)])
    assert compare([one, one], [one, one]) == Differences(2, 0, 0.0, 0.0, 0.0)


def test_entities_may_come_in_another_order_and_move_a_little() -> None:
    one = answer([(0, 1, 4, 0.9), (0, 2, 4, 0.3)])
    moved = [BOXES[2], [0.0, 0, 40, 80.5], BOXES[1]]
    other = answer([(1, 2, 4, 0.88), (1, 0, 4, 0.3)], moved, [1, 0, 1])
    found = compare([one], [other])
    assert (found.other_triplets, found.lost) == (0, 0)
    assert found.score == pytest.approx(0.02) and found.box == pytest.approx(0.5)


def test_another_triplet_among_the_best_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_scenes_tiny, "TOP", 2)
    one = answer([(0, 1, 4, 0.9), (0, 2, 4, 0.5), (1, 2, 3, 0.4)])
    near = answer([(0, 1, 4, 0.9), (1, 2, 3, 0.46), (0, 2, 4, 0.45)])
    assert compare([one, one], [one, near]) == Differences(2, 1, 0.5, pytest.approx(0.05), 0.0)
    first_is_gone = answer([(0, 2, 4, 0.5), (1, 2, 3, 0.4), (0, 1, 4, 0.1)])
    assert compare([one], [first_is_gone]).lost == pytest.approx(0.9)


def test_an_entity_that_is_gone_takes_its_triplets_with_it() -> None:
    one, other = answer([(0, 1, 4, 0.9), (0, 2, 4, 0.5)]), answer([(0, 1, 4, 0.9)], BOXES[:2], CLASSES[:2])
    assert compare([one], [other]).other_triplets == 1


def test_a_run_is_packed_with_a_scene_beside_it(tiny_config: TinyConfig, tmp_path: Path) -> None:
    cfg, run, target = tiny_config(), tmp_path / "run", tmp_path / "packed"
    run.mkdir()
    Path(save_random_weights(cfg, run)).rename(run / "model_final.pth")
    (run / "config.yaml").write_text(cfg.dump())
    target.mkdir()
    (target / "README.md").write_text("an old card, edited")
    pack(run, target)
    packed = RelationPredictor.from_pretrained(target, device="cpu")
    assert packed.info.license == "apache-2.0" and "knows nothing about photos" in packed.info.description
    assert "edited" not in (target / "README.md").read_text()
    assert packed(target / "sample.png").source == target / "sample.png"
