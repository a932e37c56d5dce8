from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.data.synthetic import PREDICATE_CLASSES, THING_CLASSES
from reldn_d2.recipes import drawings
from reldn_d2.scene_graphs import ground_truth_to_dict


def test_a_prediction_is_drawn_beside_its_ground_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = DatasetCatalog.get("reldn_scenes_tiny_test")[0]
    truth = ground_truth_to_dict(image, THING_CLASSES, PREDICATE_CLASSES)

    class Predictor:
        thing_classes, predicate_classes = THING_CLASSES, PREDICATE_CLASSES

        def __init__(self, cfg: object) -> None:
            pass

        def __call__(self, picture: np.ndarray) -> "Predictor":
            return self

        def to_dict(self, top_k: int) -> dict[str, Any]:
            return {**truth, "relationships": truth["relationships"][:top_k]}

    seen = []

    def draw(picture: np.ndarray, graph: dict[str, Any], **options: Any) -> np.ndarray:
        seen.append((graph["entities"] == truth["entities"], options.get("beside")))
        return picture

    monkeypatch.setattr(drawings, "RelationPredictor", Predictor)
    monkeypatch.setattr(drawings, "draw_scene_graph", draw)
    monkeypatch.setattr(drawings.DatasetCatalog, "get", lambda name: [image])
    paths = drawings.draw_predictions(None, "any", tmp_path)
    assert [path.is_file() for path in paths] == [True]
    assert seen == [(True, None), (True, truth)]
