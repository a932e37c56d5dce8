"""Fixtures for the trials of reliability."""

from pathlib import Path

import pytest

from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import save_random_weights


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint."""
    return save_random_weights(tiny_config(), tmp_path)
