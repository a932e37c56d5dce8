"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    # Small tensors: a second thread costs more than it brings.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Folder of real photos and annotations for development, named by RELDN_D2_DEV_DATA."""
    folder = os.environ.get("RELDN_D2_DEV_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RELDN_D2_DEV_DATA does not name a folder of development data")
    return Path(folder)
