"""Fixtures for the trials of reliability."""

from pathlib import Path

import pytest

from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import save_random_weights


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    return save_random_weights(tiny_config(), tmp_path)


@pytest.fixture
def small_weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """The same with the small backbone."""
    return save_random_weights(tiny_config("MODEL.BACKBONE.NAME", build_small_backbone.__name__), tmp_path)
