"""Detectron2's files of an evaluation of boxes appear in one step."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from detectron2.evaluation import COCOEvaluator

from reldn_d2.evaluation.box_evaluator import BoxEvaluator


@pytest.fixture
def evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoxEvaluator:
    """An evaluator whose base class writes one file and looks at what is in the folder then."""
    made: Any = BoxEvaluator.__new__(BoxEvaluator)
    made._output_dir = str(tmp_path)

    def evaluate(self: Any, img_ids: Any = None) -> Any:
        Path(self._output_dir, "coco_instances_results.json").write_text("new")
        if img_ids:
            raise ValueError("failed")
        return OrderedDict(seen=[path.read_text() for path in tmp_path.iterdir()])

    monkeypatch.setattr(COCOEvaluator, "evaluate", evaluate)
    return made


def test_the_old_file_stays_until_the_new_one_is_complete(evaluator: BoxEvaluator, tmp_path: Path) -> None:
    file = tmp_path / "coco_instances_results.json"
    file.write_text("old")
    assert evaluator.evaluate() == {"seen": ["old"]}
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]


def test_a_failed_evaluation_leaves_the_old_file(evaluator: BoxEvaluator, tmp_path: Path) -> None:
    file = tmp_path / "coco_instances_results.json"
    file.write_text("old")
    with pytest.raises(ValueError, match="failed"):
        evaluator.evaluate([1])
    assert file.read_text() == "old" and evaluator._output_dir == str(tmp_path)
