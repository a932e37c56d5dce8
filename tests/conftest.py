"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from hypothesis import HealthCheck, settings

from reldn_d2.engine import load_config
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig


def pytest_configure() -> None:
    # Small tensors: a second thread costs more than it brings.
    torch.set_num_threads(1)
    # A slow machine fails nothing: no deadline, and no complaint about slow draws. Fixtures of one test serve all its
    # examples, which is known. The fixed profile has the same examples in each run, so that nobody's first run fails
    # by luck; `make test-random` looks for others.
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    settings.register_profile("fixed", deadline=None, derandomize=True, suppress_health_check=slow)
    settings.register_profile(
        "random", deadline=None, max_examples=300, print_blob=True, suppress_health_check=slow
    )
    settings.load_profile(os.environ.get("RELDN_D2_HYPOTHESIS", "fixed"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of this run's own: what earlier code computed must not decide what a test sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Folder of real photos and annotations for development, named by RELDN_D2_DEV_DATA."""
    folder = os.environ.get("RELDN_D2_DEV_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RELDN_D2_DEV_DATA does not name a folder of development data")
    return Path(folder)


@pytest.fixture
def tiny_config(tmp_path: Path) -> TinyConfig:
    """Makes a config of the built-in scenes at reduced width; opts are KEY, VALUE, ... overrides."""

    def make(*opts: str, file: str = "reldn.yaml") -> CfgNode:
        options = [*TINY, "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(tmp_path / "run"), *opts]
        return load_config(str(REPOSITORY / "configs" / "scenes" / file), options)

    return make
