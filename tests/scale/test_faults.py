"""Whatever dies, the rows are those of an undisturbed run. The long trials are those of `tools.scale`."""

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.builders.commands import run_reldn
from tests.builders.tiny_models import REPOSITORY
from tools.scale import faults
from tools.scale.images import write_small_images
from tools.scale.predictions import QUICK_MODEL, Job, check_same

DEADLY = REPOSITORY / "tests" / "builders" / "deadly_picture.py"
# One mounts a disk, the others make a cgroup.
NEED_ROOT = {"disk", "memory", "local-memory"}
# Ray looks at the memory of the whole machine, which other tests and programs change. So this one is tried by
# hand, alone: `python -m tools.scale faults --only ray-memory`.
ALONE = {"ray-memory"}


@pytest.mark.usefixtures("ray_session")
def test_a_worker_that_is_killed_in_a_shard_costs_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.preinit()
    # The module changes it in this process, too.
    monkeypatch.setitem(Image.OPEN, "PNG", Image.OPEN["PNG"])
    images = tmp_path / "images"
    write_small_images(images, 7)
    Image.open(images / "000006.jpg").save(images / "deadly.png")
    alone, killed = (Job(images, tmp_path / name) for name in ("alone", "killed"))
    words = ("predict", "--format", "shards", "--shard-size", 3, "--input", images)
    assert run_reldn(*words, "--output", alone.output, *QUICK_MODEL) == 0
    assert not (images / "deadly.opened").exists()
    on_ray = ("--engine", "ray", "--import", DEADLY)
    assert run_reldn(*words, "--output", killed.output, *on_ray, *QUICK_MODEL) == 0
    assert (images / "deadly.opened").exists()
    rows = killed.rows()
    assert len(rows) == 8
    check_same(rows, alone.rows(), "a killed worker")
    assert {x.name for x in killed.output.iterdir()} == {x.name for x in alone.output.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in faults.KINDS if name not in ALONE])
def test_the_rows_after_a_fault_are_those_of_an_undisturbed_run(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'reldn-d2[ray]'")
    if name in NEED_ROOT and os.getuid():
        pytest.skip("it needs root")
    assert faults.run([name], turns=1, folder=tmp_path)
