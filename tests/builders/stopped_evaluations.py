"""Evaluations of `reldn` that are killed at a given image, and what they leave."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.engine import resumable_evaluation
from tests.builders.commands import run_reldn
from tests.builders.tiny_models import REPOSITORY, TINY

TEST_SET = "reldn_scenes_tiny_test"
# Evaluated without a detector: the numbers of predicates alone, for given boxes and classes.
COUNTS = ["--config-file", "scenes/frequency.yaml", "--task", "prdcls"]
# A reduced config with batches of one image.
SMALL = [*TINY, "DATALOADER.NUM_WORKERS", "0", "TEST.IMS_PER_BATCH", "1"]

# A file for --import. After some images it kills its process, and all that were started with it.
_KILLER = """
import os, signal
from reldn_d2.engine import resumable_evaluation

resumable_evaluation.IMAGES = {images}
process, computed = resumable_evaluation._JoinedEvaluator.process, []


def counted(self, inputs, outputs):
    computed.extend(x["image_id"] for x in inputs)
    if len(computed) > {limit}:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    process(self, inputs, outputs)


resumable_evaluation._JoinedEvaluator.process = counted
"""


class KilledError(BaseException):
    """Ends a command as a signal does: no handler of the package sees it."""


@contextmanager
def computed(limit: int | None = None, images: int = 2) -> Iterator[list[Any]]:
    """Lists the ids of the images that the model computes in the block. The block is killed after `limit`.

    Args:
        limit: number of images; None: the block is not killed.
        images: number of images in a shard.
    """
    found: list[Any] = []
    process = resumable_evaluation._JoinedEvaluator.process

    def counted(self: Any, inputs: Any, outputs: Any) -> None:
        if limit is not None and len(found) + len(inputs) > limit:
            raise KilledError
        found.extend(x["image_id"] for x in inputs)
        process(self, inputs, outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resumable_evaluation, "IMAGES", images)
        patch.setattr(resumable_evaluation._JoinedEvaluator, "process", counted)
        if limit is None:
            yield found
        else:
            with pytest.raises(KilledError):
                yield found


def evaluated(output: Path, *words: object, limit: int | None = None, images: int = 2) -> list[Any]:
    """Runs `reldn evaluate` in this process. Returns the ids of the images that it computed.

    Args:
        output: folder of the results.
        words: the other words of the command.
        limit, images: see `computed`.
    """
    with computed(limit, images) as found:
        assert run_reldn("evaluate", "--output", output, *words) == 0
    return found


def killed_in_a_process(folder: Path, output: Path, *words: object, limit: int, images: int = 2) -> None:
    """Runs `reldn evaluate` in processes of its own. All are killed once one has computed `limit` images."""
    (folder / "killer.py").write_text(_KILLER.format(limit=limit, images=images))
    command = ["evaluate", "--import", folder / "killer.py", "--output", output, *words]
    ended = subprocess.run(
        [sys.executable, "-m", "reldn_cli", *map(str, command)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -9, ended.stderr


def shards(output: Path) -> list[Path]:
    """The shards of an unfinished evaluation."""
    return sorted((output / "inference" / "unfinished").glob("part-*.npz"))


def files(output: Path) -> dict[str, bytes]:
    """The contents of all files of an evaluation, by their names below `inference`.

    Left out are `summary.md`, which names the output folder, and the annotations in COCO's format, which a
    process writes for its first evaluation only.
    """
    folder = output / "inference"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "summary.md" and "coco_format" not in path.name
    }
