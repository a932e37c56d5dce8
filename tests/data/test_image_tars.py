"""Pictures in tar files: the same pictures as files, and what is said where one can't be had."""

import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.samplers import TrainingSampler
from detectron2.utils.file_io import PathManager
from PIL import Image

from reldn_d2.data import (
    RelationDatasetMapper,
    build_resumable_train_loader,
    file_names_in_tars,
    image_tars,
    load_coco_relations,
    read_data_file,
    register_data_file,
    save_coco_relations,
    without_pictures,
)
from reldn_d2.data.checking.pictures import first_uses
from reldn_d2.data.images import cache_folder, read_header, read_image, upright_size
from reldn_d2.data.pixels import UnusablePictureError
from reldn_d2.utils.refusals import collected
from tests.builders.commands import run_reldn
from tests.builders.image_tars import pack, write_tar
from tests.builders.own_data import small_party, write_data_file

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of different sizes, the second on its side, as files and in two tar files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        pixels = random.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[274] = 6 if number == 1 else 1
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    pack([tmp_path / name for name in NAMES], tmp_path)
    return tmp_path


def found_in(folder: Path, names: list[str] = NAMES, pattern: str = "train-*.tar") -> list[str]:
    found = file_names_in_tars(names, folder / pattern, "notes.json")
    return [found[name] for name in names]


def test_pictures_and_sizes_are_those_of_files(folder: Path) -> None:
    for name, in_tar in zip(NAMES, found_in(folder), strict=True):
        file = str(folder / name)
        assert in_tar.startswith("reldn-tar://") and Path(in_tar).name == name
        assert np.array_equal(read_image(in_tar, "BGR"), read_image(file, "BGR"))
        assert np.array_equal(utils.read_image(in_tar, "RGB"), utils.read_image(file, "RGB"))
        assert upright_size(in_tar) == upright_size(file)
        assert read_header(in_tar) == read_header(file)


def test_names_may_begin_with_a_dot_and_have_folders_and_any_characters(folder: Path) -> None:
    content = (folder / "a.png").read_bytes()
    names = ["./street/a.png", "b/" + "long" * 60 + ".png", "ä b.tar/c#+d.png"]
    members = {"street/a.png": content, f"./{names[1]}": content, names[2]: content}
    write_tar(folder / "more 1+2.tar", members)
    for name, in_tar in zip(names, found_in(folder, names, "more*.tar"), strict=True):
        assert Path(in_tar).name == Path(name).name
        assert np.array_equal(read_image(in_tar, "RGB"), read_image(str(folder / "a.png"), "RGB"))


def test_a_lost_picture_is_named_with_the_tar_files_and_a_similar_member(folder: Path) -> None:
    message = (
        r"notes.json: image 'z.png': none of the 2 tar files \S+/train-\*.tar has a member of this name; "
    )
    with pytest.raises(
        FileNotFoundError, match=message + r"this concerns 2 of 3 images\. A member is called"
    ):
        found_in(folder, ["a.png", "z.png", "y.png"])
    write_tar(folder / "train-9.tar", {"images/z.png": b"content"})
    with pytest.raises(
        FileNotFoundError, match=r"of this name, but one has 'images/z.png'; this concerns 1 of 2"
    ):
        found_in(folder, ["a.png", "z.png"])


def test_a_picture_in_two_places_is_refused_if_it_is_wanted(folder: Path) -> None:
    with tarfile.open(folder / "train-001.tar", "a") as tar:
        tar.add(folder / "c.png", arcname="c.png")
    assert found_in(folder, ["a.png", "b.png"])
    with pytest.raises(ValueError, match=r"image 'c.png': it is in (\S+train-001.tar) and \1\. Keep one"):
        found_in(folder)
    shutil.copy(folder / "train-000.tar", folder / "train-002.tar")
    with pytest.raises(
        ValueError, match=r"'a.png': it is in \S+-000.tar and \S+-002.tar.* 2 more: image 'b.png'"
    ):
        found_in(folder)


def test_what_is_collected_leaves_images_out(folder: Path) -> None:
    with collected() as refused:
        assert [*file_names_in_tars(["a.png", "z.png"], folder / "train-*.tar", "notes.json")] == ["a.png"]
    assert [(group.kind, group.count) for group in refused.values()] == [("picture in no tar file", 1)]


def test_a_tar_file_that_is_cut_anywhere_is_refused(folder: Path) -> None:
    whole = (folder / "train-000.tar").read_bytes()
    with tarfile.open(folder / "train-000.tar") as tar:
        end = max(member.offset_data + member.size for member in tar)
    for cut in sorted({0, 100, 512, 700, end // 2, end // 1024 * 512, end - 1, end, -(-end // 512) * 512}):
        (folder / "train-000.tar").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"train-000.tar: (not a complete tar|the tar file is cut off)"):
            found_in(folder)


def test_a_size_without_sense_is_refused(folder: Path) -> None:
    content = bytearray((folder / "train-000.tar").read_bytes())
    content[124:136] = b"\x80" + b"\xff" * 11  # a number in base 256
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (folder / "train-000.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-000.tar: not a complete tar file"):
        found_in(folder)


def test_a_damaged_header_is_no_end(folder: Path) -> None:
    with tarfile.open(folder / "train-000.tar") as tar:
        second = tar.getmembers()[2].offset
    content = bytearray((folder / "train-000.tar").read_bytes())
    content[second + 148 : second + 156] = b"damaged "  # the checksum
    (folder / "train-000.tar").write_bytes(content)
    with pytest.raises(ValueError, match=rf"is cut off or damaged behind byte {second}\. Write it again"):
        found_in(folder)


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("train-*.tar.gz", ValueError, "a compressed tar file has no places of single pictures. Unpack"),
        ("train.tgz", ValueError, "a compressed tar file"),
        ("s3://bucket/train-*.tar", ValueError, "read from tar files on a disk. Copy the files to one"),
        (
            "none-*.tar",
            FileNotFoundError,
            r"There is no tar file \S+/none-\*.tar: correct the image folder\.",
        ),
        ("train-{000..001}.tar", FileNotFoundError, r"Write \* for a list in braces"),
        ("folder.tar/x.tar", ValueError, "rename the folder whose name ends in .tar"),
    ],
)
def test_other_tar_files_are_refused_before_anything_is_read(
    pattern: str, error: type[Exception], message: str, folder: Path
) -> None:
    small_party(folder / "party")
    files = {"annotations": "train.json", "images": pattern if "//" in pattern else f"../{pattern}"}
    with pytest.raises(error, match=rf"party.yaml: 'images' of 'train': .*{message}"):
        read_data_file(write_data_file(folder / "party", train=files))


def test_a_compressed_file_with_the_name_of_another_is_refused(folder: Path) -> None:
    with tarfile.open(folder / "train-001.tar", "w:gz") as tar:
        tar.add(folder / "c.png", arcname="c.png")
    with pytest.raises(ValueError, match=r"train-001.tar: not a complete tar file .*without compression"):
        found_in(folder)


def test_a_tar_file_that_changes_in_a_run_is_noticed(folder: Path) -> None:
    first, _, last = found_in(folder)
    write_tar(folder / "train-000.tar", {"x.txt": b"more than a block " * 60, "a.png": b"something else"})
    for read in (partial(read_image, image_format="RGB"), upright_size):
        with pytest.raises(UnusablePictureError, match=r"train-000.tar was changed .* start the run again"):
            read(first)
    (folder / "train-001.tar").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"Image c.png can't be read: its tar file \S+-001.tar does not"
    ):
        read_image(last, "RGB")


def test_a_picture_of_the_same_size_in_its_place_is_noticed(folder: Path) -> None:
    content = {"a.bmp": b"one picture", "b.bmp": b"the other !"}
    long = {f"{'x' * 120}{name}": text for name, text in content.items()}
    write_tar(folder / "one.tar", {**content, **long})
    found = found_in(folder, [*content, *long], "one.tar")
    assert [PathManager.open(name, "rb").read() for name in found] == [*content.values()] * 2
    write_tar(folder / "one.tar", dict(reversed(content.items())))
    for name in found[:2]:
        with pytest.raises(UnusablePictureError, match=r"one.tar was changed after its members were listed"):
            PathManager.open(name, "rb")


def test_the_headers_of_a_tar_file_are_read_once_until_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []
    read = image_tars._read_index

    def count(tar: str) -> Any:
        opened.append(Path(tar).name)
        return read(tar)

    monkeypatch.setattr(image_tars, "_read_index", count)
    wanted = found_in(folder)
    assert opened == ["train-000.tar", "train-001.tar"]
    assert found_in(folder) == wanted and len(opened) == 2
    write_tar(folder / "train-001.tar", {"first.txt": b"", "c.png": (folder / "c.png").read_bytes()})
    assert found_in(folder)[2] != wanted[2] and opened[2:] == ["train-001.tar"]
    assert np.array_equal(read_image(found_in(folder)[2], "RGB"), read_image(str(folder / "c.png"), "RGB"))
    for cached in (cache_folder() / "image_tars").rglob("*.npz"):
        cached.write_bytes(cached.read_bytes()[:-30])
    assert found_in(folder)[:2] == wanted[:2] and len(opened) == 5
    assert "of the cache cannot be read" in caplog.text


def test_without_pictures_no_tar_file_is_needed(tmp_path: Path) -> None:
    path = small_party(tmp_path)
    with without_pictures():
        images = load_coco_relations(path.parent / "train.json", tmp_path / "none-*.tar")
    assert [Path(image["file_name"]).name for image in images] == [f"train_{i}.jpg" for i in (1, 2, 3)]


def test_an_annotation_file_can_not_name_a_place_in_a_tar_file(folder: Path) -> None:
    small_party(folder / "party")
    content = json.loads((folder / "party" / "train.json").read_text())
    content["images"][0]["file_name"] = found_in(folder)[0]
    (folder / "party" / "train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="leads out of the image folder"):
        load_coco_relations(folder / "party" / "train.json", folder)


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Path]:
    """A data file whose pictures are in tar files, without the folder of the pictures."""
    path = small_party(tmp_path / "party")
    images = tmp_path / "party" / "images"
    for split in ("train", "test"):
        pack(sorted(images.glob(f"{split}_*")), tmp_path / "party" / "shards", name=split)
    images.rename(tmp_path / "images")
    splits = {x: {"annotations": f"{x}.json", "images": f"shards/{x}-*.tar"} for x in ("train", "test")}
    yield write_data_file(path.parent, **splits)


def test_a_data_file_names_tar_files(party: Path) -> None:
    register_data_file(party)
    images = DatasetCatalog.get("party_train")
    mapper = RelationDatasetMapper(is_train=False, augmentations=[], image_format="BGR")
    wanted = load_coco_relations(party.parent / "train.json", party.parents[1] / "images")
    for mine, theirs in zip(map(mapper, images), map(mapper, wanted), strict=True):
        assert torch.equal(mine["image"], theirs["image"])
        assert torch.equal(mine["relations"], theirs["relations"])
    foreign = DatasetMapper(is_train=False, augmentations=[], image_format="BGR")
    assert torch.equal(foreign(images[0])["image"], mapper(wanted[0])["image"])
    save_coco_relations(images, MetadataCatalog.get("party_train"), party.parent / "again.json")
    again = json.loads((party.parent / "again.json").read_text())
    assert [image["file_name"] for image in again["images"]] == [f"train_{i}.jpg" for i in (1, 2, 3)]


def test_the_check_says_the_same_of_tar_files_and_files(
    party: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = party.parent
    images = root.parent / "images"
    (images / "train_2.jpg").write_bytes((images / "train_1.jpg").read_bytes())
    (images / "train_3.jpg").write_text("no picture")
    pattern = pack(sorted(images.glob("train_*")), root / "shards", name="train")
    shutil.copy(root / "train.json", root / "tars.json")
    reports = []
    for notes, where in (("train.json", images), ("tars.json", pattern)):
        given = ["--annotations", root / notes, "--image-root", where]
        assert run_reldn("check", *given, "--output", root / "report.json") == 1
        (report,) = json.loads((root / "report.json").read_text())["data_sets"]
        reports.append([(problem["kind"], problem["count"]) for problem in report["problems"]])
    capsys.readouterr()
    assert reports[0] == reports[1] == [("unreadable_image", 1), ("same_picture", 1)]
    # Drawn samples.
    assert run_reldn("check", "--data", party, "--html", root / "report.html") == 1


def test_members_of_one_size_are_told_apart_by_their_bytes(folder: Path) -> None:
    write_tar(folder / "sizes.tar", {"1.jpg": b"one", "2.jpg": b"two", "3.jpg": b"one"})
    in_tar = found_in(folder, ["1.jpg", "2.jpg", "3.jpg"], "sizes.tar")
    (folder / "two").write_bytes(b"two")
    assert first_uses([*in_tar, str(folder / "two")]).tolist() == [0, 1, 0, 1]


SPAWNED = {"num_workers": 2, "multiprocessing_context": "spawn"}


# New interpreters import PyTorch for seconds.
@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, pytest.param(SPAWNED, marks=pytest.mark.slow)])
def test_batches_are_those_of_files_with_any_workers(options: dict[str, Any], folder: Path) -> None:
    mapper = RelationDatasetMapper(
        is_train=True,
        augmentations=[T.RandomFlip(), T.RandomCrop("relative_range", (0.5, 0.5))],
        image_format="BGR",
    )

    def batches(files: list[str], **options: Any) -> list[list[tuple[str, torch.Tensor]]]:
        images: list[dict[str, Any]] = [{"image_id": i, "file_name": file} for i, file in enumerate(files)]
        loader = build_resumable_train_loader(
            images, mapper=mapper, total_batch_size=2, seed=3, sampler=TrainingSampler(3, seed=1), **options
        )
        drawn = islice(loader, 4)
        return [[(Path(x["file_name"]).name, x["image"]) for x in batch] for batch in drawn]

    wanted = batches([str(folder / name) for name in NAMES])
    found = batches(found_in(folder), **options)
    for mine, theirs in zip(found, wanted, strict=True):
        assert [name for name, _ in mine] == [name for name, _ in theirs]
        assert all(torch.equal(x, y) for (_, x), (_, y) in zip(mine, theirs, strict=True))


def test_open_files_are_closed(folder: Path) -> None:
    in_tar = found_in(folder)[0]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_image(in_tar, "RGB"), upright_size(in_tar)
    with pytest.raises(UnusablePictureError):
        read_image(in_tar.replace("reldn-tar://", "reldn-tar://1"), "RGB")
    assert len(os.listdir("/proc/self/fd")) == before
    assert pickle.loads(pickle.dumps(in_tar)) == in_tar
