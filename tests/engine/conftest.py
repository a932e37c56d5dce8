"""Fixtures for the tests of configs."""

import pytest
from detectron2.data import DatasetCatalog

from tests.builders.config_files import data_sets


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few scenes under the names of all data sets in the configs. The metadata stay as they are."""
    tiny = DatasetCatalog.get("scenes_tiny_test")
    for name in data_sets():
        monkeypatch.setitem(DatasetCatalog.data, name, lambda: tiny)
