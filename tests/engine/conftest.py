"""Fixtures for the tests of configs and of runs."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from tests.builders.config_files import data_sets
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import save_random_weights


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few scenes under the names of all data sets in the configs. The metadata stay as they are."""
    tiny = DatasetCatalog.get("reldn_scenes_tiny_test")
    for name in data_sets():
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    return save_random_weights(tiny_config(), tmp_path)
