"""Fixtures for the tests of configs and of runs."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import vocabulary_of
from tests.builders.config_files import data_sets
from tests.builders.tiny_models import TinyConfig, make_model


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few scenes under the names of all data sets in the configs. The metadata stay as they are."""
    tiny = DatasetCatalog.get("reldn_scenes_tiny_test")
    for name in data_sets():
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path), vocabulary=vocabulary).save("reldn")
    return str(tmp_path / "reldn.pth")
