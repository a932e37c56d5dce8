"""The trial with the real Label Studio."""

import os
import shutil
from pathlib import Path

import pytest

from tools.label_studio_trial import trial


@pytest.mark.slow
def test_graphs_go_through_the_real_program_and_back(tmp_path: Path) -> None:
    program = shutil.which(os.environ.get("LABEL_STUDIO", "label-studio"))
    if program is None:
        pytest.skip("label-studio is not installed: put it on the PATH, or name it in LABEL_STUDIO")
    found = trial(program, tmp_path)
    assert "4 tasks, 4 predictions" in found[0]
    assert "JSON_MIN is refused" in found[-1]
