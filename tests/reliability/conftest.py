"""Fixtures for the trials."""

from pathlib import Path

import pytest

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import vocabulary_of
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import TinyConfig, make_model


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint with the small backbone."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    model = make_model(tiny_config("MODEL.BACKBONE.NAME", build_small_backbone.__name__))
    RelationCheckpointer(model, str(tmp_path), vocabulary=vocabulary).save("start")
    return str(tmp_path / "start.pth")
