"""Fixtures and settings that all tests share."""

import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger
from hypothesis import HealthCheck, settings

from reldn_d2 import config
from reldn_d2.engine import RelationPredictor, load_config, user_modules
from reldn_d2.modeling import CONTRASTIVE_TERM_REGISTRY, ROI_RELATION_HEAD_REGISTRY
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig

# Loggers to which trainings add handlers.
LOGGERS = ("reldn_d2", "detectron2", "fvcore", "py.warnings")


def pytest_configure() -> None:
    # For small tensors a second thread is slower. The variable is for processes that tests start.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    # A shell starts programs in the background with Ctrl-C ignored, which some tests press.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A slow machine must not make a test fail, so there is no deadline and no complaint about slow
    # generators. Function-scoped fixtures serve all examples of a test, which is intended. The profile
    # "fixed" has the same examples in each run, so that no run fails by chance. "random" (`make test-random`)
    # has new ones.
    suppressed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    settings.register_profile("fixed", deadline=None, derandomize=True, suppress_health_check=suppressed)
    settings.register_profile(
        "random",
        deadline=None,
        max_examples=int(os.environ.get("RELDN_D2_EXAMPLES", "300")),
        print_blob=True,
        suppress_health_check=suppressed,
    )
    settings.load_profile(os.environ.get("RELDN_D2_HYPOTHESIS", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        without = pytest.mark.skip(reason="PyTorch finds no GPU here")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(without)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Uses a cache folder of this process and no data sets of the user.

    Tests must not read files that earlier code computed, and must not write into the user's folders.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("DETECTRON2_DATASETS", raising=False)
        yield


@pytest.fixture(scope="session")
def restore_projects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], None]:
    """Removes what projects of the tests registered after the collection, and their modules."""
    heads, terms = (dict(x._obj_map) for x in (ROI_RELATION_HEAD_REGISTRY, CONTRASTIVE_TERM_REGISTRY))
    projects, modules, imported = list(config._projects), set(sys.modules), dict(user_modules._imported)
    folders = (str(REPOSITORY / "examples"), str(tmp_path_factory.getbasetemp()))

    def restore() -> None:
        ROI_RELATION_HEAD_REGISTRY._obj_map = dict(heads)
        CONTRASTIVE_TERM_REGISTRY._obj_map = dict(terms)
        config._projects[:] = projects
        user_modules._imported = dict(imported)
        for name in sys.modules.keys() - modules:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(folders):
                del sys.modules[name]

    return restore


@pytest.fixture(autouse=True)
def same_start(own_folders: None, restore_projects: Callable[[], None]) -> Iterator[None]:
    """Every test starts from the same global state, even if other tests ran before it in its process.

    Random numbers are seeded, and loggers have no handlers. Other changes by a training or an evaluation are
    undone: environment variables, sys.path, registered data sets and their metadata, the number of threads,
    and what modules of other projects registered.
    """
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    environment, path = dict(os.environ), list(sys.path)
    data_sets = dict(DatasetCatalog.data)
    metadata = {name: (entry, dict(vars(entry))) for name, entry in MetadataCatalog.data.items()}
    # This is done before the test, because fixtures of a whole module may have run a training before.
    for logger in map(logging.getLogger, LOGGERS):
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
        logger.handlers.clear()
    setup_logger.cache_clear()  # otherwise a second call with the same arguments adds no handlers
    logging.captureWarnings(False)
    yield
    MetadataCatalog.data.clear()
    for name, (entry, attributes) in metadata.items():
        vars(entry).clear()
        vars(entry).update(attributes)
        MetadataCatalog.data[name] = entry
    DatasetCatalog.data.clear()
    DatasetCatalog.data.update(data_sets)
    for name in os.environ.keys() - environment.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(environment)
    sys.path[:] = path
    torch.set_num_threads(1)
    restore_projects()


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


@pytest.fixture(scope="session")
def scenes_tiny() -> RelationPredictor:
    """The trained model of the drawn scenes that the wheel holds. It is shared: do not change it."""
    return RelationPredictor.from_pretrained("scenes-tiny", device="cpu")
