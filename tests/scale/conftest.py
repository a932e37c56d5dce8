"""A small cluster of Ray, which all tests of this folder share."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine, with two logical CPUs, for this process and the commands that it calls."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'reldn-d2[ray]'")
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'reldn-d2[ray]'")
    # The paths of Ray's sockets must be short.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        # Else Ray's workers get the lowest share of a busy machine.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
