"""The commands of docs/photo_model.md, one after the other, at reduced size on a few real photos.

Downloads are replaced by archives that the test has made, weights of Detectron2's model zoo by random ones.
"""

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from PIL import Image

from reldn_d2.ablation.tables import read_table
from reldn_d2.data import register_all
from reldn_d2.engine import load_config
from tests.builders.commands import run_reldn
from tests.builders.tiny_models import REPOSITORY, calm_down
from tests.builders.vg150_files import TEST, TRAIN, Photo, h5_arrays, image_data, write_files

from .blocks import Block, blocks
from .reduced import PHOTOS, reduced

PAGE = "docs/photo_model.md"
BLOCKS = [block for block in blocks() if block.page == PAGE]
PER_SPLIT = 4
NEEDS_UNZIP = pytest.mark.skipif(not shutil.which("unzip"), reason="unzip is not installed")


@pytest.fixture
def vrd_archives(dev_data: Path, tmp_path: Path) -> Path:
    """Folder with json_dataset.zip and sg_dataset.zip: a few photos of each split, in VRD's layout."""
    folder, mini = tmp_path / "archives", dev_data / "vrd_mini"
    folder.mkdir()
    with (
        zipfile.ZipFile(folder / "json_dataset.zip", "w") as annotations,
        zipfile.ZipFile(folder / "sg_dataset.zip", "w") as photos,
    ):
        for name in ("objects.json", "predicates.json"):
            annotations.write(mini / "json_dataset" / name, f"json_dataset/{name}")
        for split in ("train", "test"):
            listed = json.loads((mini / "json_dataset" / f"annotations_{split}.json").read_text())
            few = dict([x for x in listed.items() if x[1]][:PER_SPLIT])
            annotations.writestr(f"json_dataset/annotations_{split}.json", json.dumps(few))
            for name in few:
                place = f"sg_dataset/sg_{split}_images/{name}"
                photos.write(mini / place, place)
    return folder


@pytest.fixture
def vg_archives(dev_data: Path, tmp_path: Path) -> Path:
    """Folder with the files of Visual Genome for a few photos, with boxes in their corners."""
    folder, files = tmp_path / "archives_vg", tmp_path / "files_vg"
    folder.mkdir()
    pictures = sorted((dev_data / "vrd_mini" / "sg_dataset" / "sg_test_images").glob("*.jpg"))
    photos = []
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as first,
        zipfile.ZipFile(folder / "images2.zip", "w") as second,
    ):
        for number, picture in enumerate(pictures[: 2 * PER_SPLIT]):
            width, height = Image.open(picture).size
            split = TRAIN if number < PER_SPLIT else TEST
            photos.append(Photo(10 + number, width=width, height=height, split=split))
            archive, part = (first, "VG_100K") if number % 2 else (second, "VG_100K_2")
            archive.write(picture, f"{part}/{10 + number}.jpg")
    write_files(files, h5_arrays(photos), image_data(photos), attributes=False)
    with zipfile.ZipFile(folder / "image_data.json.zip", "w") as archive:
        archive.write(files / "image_data.json", "image_data.json")
    for name in ("VG-SGG.h5", "VG-SGG-dicts.json"):
        shutil.copy(files / name, folder)
    return folder


def write_start(config: str, path: Path, *options: str) -> None:
    """Writes random weights of the narrow detector of a config, as a file of Detectron2's model zoo."""
    words = [word for pair in PHOTOS.items() for word in pair]
    torch.manual_seed(0)
    model = build_model(load_config(config, [*words, "MODEL.WEIGHTS", "", *options]))
    calm_down(model)
    torch.save({"model": model.state_dict()}, path)


@pytest.fixture
def model_zoo(tmp_path: Path) -> Iterator[None]:
    """Detectron2's model zoo has random weights of the narrow networks."""
    folder = tmp_path / "model_zoo"
    folder.mkdir()
    write_start("vrd/detector_r50_fpn.yaml", folder / "coco.pth", "MODEL.ROI_HEADS.NUM_CLASSES", "80")
    write_start("vg/detector_x101_fpn.yaml", folder / "imagenet.pth")

    class Zoo(PathHandler):
        def _get_supported_prefixes(self) -> list[str]:
            return ["detectron2://", "catalog://"]

        def _get_local_path(self, path: str, force: bool = False, **_: Any) -> str:
            names = {"COCO-Detection/faster_rcnn_R_50_FPN_3x": "coco", "FAIR/X-101-64x4d": "imagenet"}
            (name,) = [name for part, name in names.items() if part in path]
            return str(folder / f"{name}.pth")

    before = {name: PathManager._path_handlers[name] for name in Zoo()._get_supported_prefixes()}
    PathManager.register_handler(Zoo(), allow_override=True)
    yield
    PathManager._path_handlers.update(before)


@pytest.fixture
def reader(dev_data: Path, tmp_path: Path, model_zoo: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder: a photo, and the data sets' names for the folder `datasets` in it."""
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in DatasetCatalog.list() if name.startswith(("reldn_vrd", "reldn_vg150"))]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_all("datasets")
    for name in [name for name in DatasetCatalog.list() if name.startswith(("reldn_vrd", "reldn_vg150"))]:
        MetadataCatalog.get(name).__dict__.pop("expected_counts", None)  # those of the official files
    photo = next((dev_data / "vrd_mini" / "sg_dataset" / "sg_test_images").glob("*.jpg"))
    shutil.copy(photo, folder / "photo.jpg")
    return folder


def section(heading: str) -> list[Block]:
    """The blocks of a section of the page."""
    lines = (REPOSITORY / PAGE).read_text().splitlines()
    starts = [number for number, line in enumerate(lines, start=1) if line.startswith("## ")]
    (start,) = [number for number in starts if lines[number - 1] == f"## {heading}"]
    end = min([number for number in starts if number > start], default=len(lines))
    return [block for block in BLOCKS if start < block.line < end]


def run(found: list[Block], archives: Path) -> None:
    """Runs the bash blocks in the working directory; a download takes a file of a folder."""
    for block in found:
        for name, *words in block.commands():
            COMMANDS[name](words, archives)


def _curl(words: list[str], archives: Path) -> None:
    target, address = Path(words[words.index("--output") + 1]), words[-1]
    assert address.rpartition("/")[2] == target.name
    shutil.copy(archives / target.name, target)


def _system(name: str) -> Callable[[list[str], Path], None]:
    def call(words: list[str], _: Path) -> None:
        subprocess.run([name, *words], check=True)

    return call


def _reldn(words: list[str], _: Path) -> None:
    assert run_reldn(*reduced(words)) == 0, words


def _no_digest(_: list[str], archives: Path) -> None:
    """The archives of the test have other digests. The page's are compared with another page."""


COMMANDS: dict[str, Callable[[list[str], Path], None]] = {
    "curl": _curl,
    "mkdir": _system("mkdir"),
    "unzip": _system("unzip"),
    "md5sum": _no_digest,
    "sha256sum": _no_digest,
    "reldn": _reldn,
}


@NEEDS_UNZIP
def test_vrd(reader: Path, vrd_archives: Path) -> None:
    shutil.copy(vrd_archives / "sg_dataset.zip", reader)  # what the reader downloads by hand
    run(section("VRD, in an evening"), vrd_archives)
    inference = reader / "output/vrd/reldn_r50_fpn/inference/reldn_vrd_test"
    for task in ("sgdet", "prdcls"):
        assert "rel_k70_R@50" in (inference / task / "relation_results.csv").read_text()
    assert "relationships" in json.loads((reader / "predictions" / "photo.json").read_text())
    assert (reader / "vrd.html").is_file()
    (keep,) = section("Keep it, and share it")
    exec(compile("\n" * keep.line + keep.text, PAGE, "exec"), {})
    assert (reader / "my-vrd-model" / "model.safetensors").is_file()


@NEEDS_UNZIP
def test_visual_genome(reader: Path, vg_archives: Path) -> None:
    run(section("Visual Genome"), vg_archives)
    inference = reader / "output/vg/reldn_x101_fpn/inference/reldn_vg150_test"
    for task in ("sgdet", "sgcls", "prdcls"):
        results = (inference / task / "relation_results.csv").read_text()
        assert "motifs,R@50" in results
        assert task == "sgdet" or "reldn,macro_rel_k1_R@50" in results
    assert (reader / "predictions" / "photo.json").is_file()


def test_every_block_is_run() -> None:
    headings = ("VRD, in an evening", "Visual Genome", "Keep it, and share it")
    assert [block for heading in headings for block in section(heading)] == BLOCKS


def test_the_addresses_and_digests_are_those_of_the_data_page() -> None:
    text = "\n".join(block.text for block in BLOCKS)
    data = (REPOSITORY / "datasets" / "README.md").read_text()
    digests = re.findall(r"\b[0-9a-f]{32,64}\b", text)
    assert len(digests) == 5
    assert not [x for x in [*digests, *re.findall(r"https?://\S+", text)] if x not in data]


def test_the_figures_of_the_paper_are_those_of_its_tables() -> None:
    text = (REPOSITORY / PAGE).read_text()
    (vg,) = [line for line in read_table(7, None, None).lines if line.name == "RelDN_X101FPN"]
    for task in ("SGDET", "SGCLS", "PRDCLS"):
        numbers = [f"{vg.paper[f'{task}{k}']:.1f}" for k in (20, 50, 100)]
        assert f"| {task} | {' | '.join(numbers)} |" in text
    (vrd,) = [line for line in read_table(8, None, None).lines if line.name == "RelDN_COCO"]
    for k in (1, 70):
        numbers = [f"{vrd.paper[f'k{k} {kind} R@{n}']:.2f}" for kind in ("rel", "phr") for n in (50, 100)]
        assert f"| k = {k} | {' | '.join(numbers)} |" in text
