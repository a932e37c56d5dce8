"""Stage 1 reports box AP50, through the functions that train_net.py calls."""

from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from torch import nn, tensor

from reldn_d2.engine import Trainer
from tests.builders.config_files import load

DATA_SET = "two_things_of_a_detector"


class Detector(nn.Module):
    """Finds the annotated boxes, narrowed to a share of their width."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        results = []
        for x in batched_inputs:
            height, width = x["height"], x["width"]
            boxes = x["instances"].gt_boxes.tensor.clone()
            boxes *= tensor([width, height] * 2) / tensor([*x["image"].shape[:0:-1]] * 2)
            boxes[:, 2] = boxes[:, 0] + self.share * (boxes[:, 2] - boxes[:, 0])
            found = Instances((height, width))
            found.pred_boxes, found.pred_classes = Boxes(boxes), x["instances"].gt_classes
            found.scores = tensor([0.9] * len(boxes))
            results.append({"instances": found})
        return results


@pytest.fixture
def scenes_of_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first scenes, under a name of their own: COCOEvaluator leaves traces in the metadata."""
    scenes = DatasetCatalog.get("reldn_scenes_tiny_test")[:4]
    classes = MetadataCatalog.get("reldn_scenes_tiny_test").thing_classes
    assert sum(len(scene["annotations"]) for scene in scenes) > 8
    assert all(a["bbox_mode"] == BoxMode.XYXY_ABS for scene in scenes for a in scene["annotations"])
    monkeypatch.setitem(DatasetCatalog.data, DATA_SET, lambda: scenes)
    MetadataCatalog.get(DATA_SET).set(thing_classes=classes)
    yield
    MetadataCatalog.pop(DATA_SET)


@pytest.mark.parametrize(
    ("share", "ap50", "ap75"),
    [(1.0, 100, 100), (0.6, 100, 0), (0.4, 0, 0)],
)
@pytest.mark.usefixtures("scenes_of_the_catalog")
def test_box_ap50_of_known_detections(share: float, ap50: float, ap75: float, tmp_path: Path) -> None:
    # The IoU of a box with its left part is its share of the width.
    cfg = load("scenes/detector.yaml", "OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", f"('{DATA_SET}',)")
    results = Trainer.test(cfg, Detector(share))
    assert results["bbox"]["AP50"] == pytest.approx(ap50, abs=1e-6)
    assert results["bbox"]["AP75"] == pytest.approx(ap75, abs=1e-6)
