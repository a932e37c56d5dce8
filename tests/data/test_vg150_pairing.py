"""VG150's h5 file and image_data.json are paired by row: a wrong order in any range of rows is refused."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.data.datasets.visual_genome.vg150 import load_vg150
from tests.builders.vg150_files import Photo, h5_arrays, image_data, write_files, write_vg150


def many_photos(count: int) -> list[Photo]:
    """Photos of both orientations in an irregular order, each with boxes at its far corner and its middle."""
    rng = np.random.default_rng(3)
    photos = []
    for i, upright in enumerate((rng.random(count) < 0.3).tolist()):
        width, height = (768, 1024) if upright else (1024, 768)
        boxes = ((width - 50, height - 60, 100, 120), (width / 2, height / 2, 80, 60))
        photos.append(Photo(10 + i, boxes, width=width, height=height))
    return photos


ORDERS: dict[str, Callable[[list[int]], list[int]]] = {
    "one left out at the beginning": lambda rows: [*rows[1:], rows[0]],
    "one left out in the middle": lambda rows: [*rows[:140], *rows[141:], rows[140]],
    "one too many in the middle": lambda rows: [*rows[:140], rows[-1], *rows[140:-1]],
    "a block moved": lambda rows: [*rows[:40], *rows[120:200], *rows[40:120], *rows[200:]],
    "two ranges exchanged": lambda rows: [
        *rows[:20],
        *rows[220:290],
        *rows[90:220],
        *rows[20:90],
        *rows[290:],
    ],
    "backwards": lambda rows: rows[::-1],
    "backwards at the end": lambda rows: [*rows[:200], *reversed(rows[200:])],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("file", ["image_data.json", "h5"])
def test_rows_that_are_not_paired_rightly_are_refused(
    tmp_path: Path, order: Callable[[list[int]], list[int]], file: str
) -> None:
    photos = many_photos(300)
    reordered = [photos[row] for row in order(list(range(300)))]
    in_list, in_h5 = (reordered, photos) if file == "image_data.json" else (photos, reordered)
    write_files(tmp_path, h5_arrays(in_h5), image_data(in_list))
    with pytest.raises(ValueError, match=r"from about row \d+ .* do not belong together .*same source"):
        load_vg150(tmp_path, "trainval")


def test_a_wrong_range_is_named_where_it_is(tmp_path: Path) -> None:
    photos = many_photos(600)
    moved = [*photos[:350], *photos[351:], photos[350]]
    write_files(tmp_path, h5_arrays(photos), image_data(moved))
    with pytest.raises(ValueError, match="do not belong together") as error:
        load_vg150(tmp_path, "trainval")
    found = re.search(r"row (\d+) \(image \d+\) to row (\d+)", str(error.value))
    assert found is not None
    assert 350 <= int(found[1]) < 370 and 590 <= int(found[2]) < 600


def test_some_images_whose_boxes_stick_out_are_no_wrong_order(tmp_path: Path) -> None:
    photos = many_photos(1000)
    for row in np.random.default_rng(0).choice(1000, 40, replace=False).tolist():
        photos[row] = replace(photos[row], boxes=((900, 900, 600, 600), (400, 300, 80, 60)))
    write_vg150(tmp_path, photos)
    assert len(load_vg150(tmp_path, "trainval")) == 1000


def test_images_without_boxes_do_not_matter_for_the_order(tmp_path: Path) -> None:
    photos = many_photos(300)
    for row in range(0, 300, 2):
        photos[row] = replace(photos[row], boxes=(), labels=(), relations=())
    write_vg150(tmp_path, photos)
    assert len(load_vg150(tmp_path, "trainval")) == 150
    write_files(tmp_path, h5_arrays(photos), image_data([*photos[:140], *photos[141:], photos[140]]))
    with pytest.raises(ValueError, match="do not belong together"):
        load_vg150(tmp_path, "trainval")


# --- an h5 file that a writer has open, or had open when it was killed

WRITER = """
import os, signal, sys, h5py
file = h5py.File(sys.argv[1], sys.argv[2], libver="latest")
file["more"] = [1]
file.flush()
print("open", flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[3] == "killed" else sys.stdin.read()
"""


def test_a_file_that_a_writer_has_open_is_not_called_damaged(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(7)])
    file = tmp_path / "VG-SGG-with-attri.h5"
    command = [sys.executable, "-c", WRITER, file, "r+", "waits"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"open\n"
        with pytest.raises(
            OSError, match=r"Another program has it open.*HDF5_USE_FILE_LOCKING=FALSE"
        ) as error:
            load_vg150(tmp_path, "trainval")
    assert "Download" not in str(error.value) and str(file) in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="kills by a signal")
def test_the_mark_of_a_killed_writer_is_not_called_damage(tmp_path: Path) -> None:
    write_vg150(tmp_path, [Photo(7)])
    file = tmp_path / "VG-SGG-with-attri.h5"
    killed = subprocess.run([sys.executable, "-c", WRITER, file, "w", "killed"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(OSError, match=r"consistency flags.*h5clear -s .*with-attri\.h5` of the HDF5 tools"):
        load_vg150(tmp_path, "trainval")


@pytest.mark.parametrize("number", [11, 13, 37, 38, 95])
def test_disks_without_locks_are_named(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, f"Unable to synchronously open file (unable to lock file, errno = {number})")

    write_vg150(tmp_path, [Photo(7)])
    monkeypatch.setattr("h5py.File", refuse)
    with pytest.raises(OSError, match=f"errno = {number}.*HDF5_USE_FILE_LOCKING=FALSE") as error:
        load_vg150(tmp_path, "trainval")
    assert error.value.errno == number
