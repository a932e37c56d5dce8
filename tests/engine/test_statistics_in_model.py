"""The semantic table is counted from training data once, and saved and loaded with the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import Trainer
from tests.builders.tiny_models import TinyConfig
from tests.references.statistics import slow_counts

SEMANTIC = "MODEL.ROI_RELATION_HEAD.SEMANTIC"


def table_of(model: Any) -> torch.Tensor:
    table: torch.Tensor = model.relation_head.pair_classifier.semantic.log_prior
    return table.detach()


def expected_table(name: str, overlap_only: bool, background_count: str) -> torch.Tensor:
    """log(p + 0.001), with 1 added to the counts of the last column."""
    metadata = MetadataCatalog.get(name)
    sizes = len(metadata.thing_classes), len(metadata.predicate_classes)
    counts = slow_counts(DatasetCatalog.get(name), *sizes, overlap_only, background_count).astype(float)
    counts[..., -1] += 1
    return torch.tensor(np.log(counts / counts.sum(-1, keepdims=True) + 1e-3), dtype=torch.float32)


@pytest.mark.parametrize(("overlap_only", "background_count"), [(False, "unrelated"), (True, "all")])
def test_a_saved_model_needs_no_data_for_its_table(
    overlap_only: bool, background_count: str, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        *("MODEL.ROI_RELATION_HEAD.OVERLAP_ONLY", str(overlap_only)),
        *(f"{SEMANTIC}.BACKGROUND_COUNT", background_count),
    ]
    cfg = tiny_config(*options)
    expected = expected_table("reldn_scenes_tiny_train", overlap_only, background_count)
    trainer = Trainer(cfg)
    trainer.checkpointer.save("saved")
    torch.testing.assert_close(table_of(trainer.model), expected)

    def no_data(name: str) -> None:
        raise FileNotFoundError(name)

    monkeypatch.setattr(DatasetCatalog, "get", no_data)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    loaded = Trainer.build_model(cfg)
    assert table_of(loaded).isnan().all()
    RelationCheckpointer(loaded, complete=True).load(str(Path(cfg.OUTPUT_DIR) / "saved.pth"))
    assert torch.equal(table_of(loaded), table_of(trainer.model))


def test_the_table_may_be_counted_over_other_data(tiny_config: TinyConfig) -> None:
    counted_over = Trainer(tiny_config("DATASETS.STATISTICS", "('reldn_scenes_tiny_test',)"))
    torch.testing.assert_close(
        table_of(counted_over.model), expected_table("reldn_scenes_tiny_test", False, "unrelated")
    )
