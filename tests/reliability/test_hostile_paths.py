"""Names of images in annotation files lead out of their folder only if somebody says so."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from reldn_d2.cli.checking import page as checked_page
from reldn_d2.data import (
    load_coco_relations,
    register_coco_relations,
    save_coco_relations,
)
from reldn_d2.data.checking import checks, pictures
from reldn_d2.data.conversion import Conversion, convert
from reldn_d2.data.data_file import read_data_file
from reldn_d2.engine import Trainer
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.dataset_formats import authors_json, openimages_vrd, vrd
from tests.builders.dataset_formats.damage import Damage
from tests.builders.own_data import small_party, write_data_file
from tests.builders.tiny_models import TinyConfig

# What a file could say, for a picture that is there.
NAMES: dict[str, Callable[[Path], str]] = {
    "above": lambda folder: "../secret.jpg",
    "above, later": lambda folder: "a/../../secret.jpg",
    "absolute": lambda folder: str(folder / "secret.jpg"),
    "home": lambda folder: "~/secret.jpg",
    "windows": lambda folder: "..\\secret.jpg",
    "drive": lambda folder: "C:/secret.jpg",
    "address": lambda folder: "http://example.invalid/secret.jpg",
    "zero byte": lambda folder: "secret.jpg\0.png",
}
every_name = pytest.mark.parametrize("make", NAMES.values(), ids=NAMES)
REMEDY = "outside_root=True at its registration, 'outside_root: true' in the data file, or --outside-root"


@pytest.fixture
def party(tmp_path: Path) -> Path:
    """Own data, with a picture beside the folder of images that should stay a secret."""
    Image.new("RGB", (60, 40), "red").save(tmp_path / "secret.jpg")
    return small_party(tmp_path)


def rename_first_image(party: Path, make: Callable[[Path], str]) -> str:
    """Writes the name into the file of the training split."""
    path = party.with_name("train.json")
    content = json.loads(path.read_text())
    name = content["images"][0]["file_name"] = make(party.parent)
    path.write_text(json.dumps(content))
    return name


def recorded(read: Callable[..., Any], opened: list[str]) -> Callable[..., Any]:
    """The same function, which also notes the file that it is given."""

    def reader(file: str, *more: Any) -> Any:
        opened.append(file)
        return read(file, *more)

    return reader


@every_name
def test_a_coco_relations_file(
    party: Path, make: Callable[[Path], str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = rename_first_image(party, make)
    files = (party.with_name("train.json"), party.with_name("images"))
    with pytest.raises(
        ValueError, match=r"train\.json: image 1: file_name .* leads out of the image folder"
    ) as error:
        load_coco_relations(*files)
    assert repr(name) in str(error.value) and REMEDY in str(error.value)
    # The checker goes on with the other images, and opens no such file.
    opened: list[str] = []
    for module in (checks, pictures, checked_page):
        for reader in {"read_image", "upright_size", "exif_orientation"} & {*vars(module)}:
            monkeypatch.setattr(module, reader, recorded(getattr(module, reader), opened))
    page = party.with_name("page.html")
    assert run_reldn("check", "--data", party, "--html", page) == 1
    assert f"image 1: file_name {name!r} leads out of the image folder" in capsys.readouterr().out
    assert opened and all(Path(file).parent == files[1].resolve() for file in opened)
    assert run_reldn("check", "--annotations", files[0], "--image-root", files[1]) == 1


def test_all_such_names_are_counted(party: Path) -> None:
    path = party.with_name("train.json")
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["file_name"] = "/etc/passwd"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"image 1: .* The same check fails for 2 more: image 2, image 3\."):
        load_coco_relations(path, party.parent)


@pytest.mark.parametrize("kind", ["above", "above, later", "absolute"])
def test_the_option_allows_it(party: Path, kind: str, capsys: Captured) -> None:
    name = rename_first_image(party, NAMES[kind])
    (party.with_name("images") / "a").mkdir()
    annotations, images = party.with_name("train.json"), party.with_name("images")
    split = {"annotations": "train.json", "images": "images"}
    allowed = write_data_file(party.parent, "allowed", train={**split, "outside_root": True})
    assert read_data_file(allowed)["train"].outside_root
    assert run_reldn("check", "--data", allowed) == 0
    assert run_reldn("check", "--annotations", annotations, "--image-root", images, "--outside-root") == 0
    register_coco_relations("hostile_paths", {}, annotations, images, outside_root=True)
    first = DatasetCatalog.get("hostile_paths")[0]
    assert first["file_name"] == os.path.join(images, name)


@pytest.mark.parametrize("value", ["yes", 1, None, "false"])
def test_the_key_of_a_data_file_is_true_or_false(party: Path, value: Any) -> None:
    split = {"annotations": "train.json", "images": "images", "outside_root": value}
    with pytest.raises(ValueError, match=r"'outside_root' of 'train' is .*\. Write true, or leave it out"):
        read_data_file(write_data_file(party.parent, "odd", train=split))


def test_the_option_of_the_checker_needs_a_file(capsys: Captured) -> None:
    assert "'outside_root: true'" in usage_error(capsys, "check", "--dataset", "a", "--outside-root")


def test_links_and_folders_inside_are_as_before(party: Path) -> None:
    images = party.with_name("images")
    (images / "a").mkdir()
    (images / "a" / "link.jpg").symlink_to(party.with_name("secret.jpg"))
    rename_first_image(party, lambda folder: "a/link.jpg")
    assert run_reldn("check", "--data", party) == 0
    (party.parent / "linked").symlink_to(images)
    assert len(load_coco_relations(party.with_name("train.json"), party.parent / "linked")) == 3


def test_the_example_of_the_home_folder_is_not_expanded(party: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(party.parent))
    rename_first_image(party, NAMES["home"])
    with pytest.raises(ValueError, match="leads out of the image folder"):
        load_coco_relations(party.with_name("train.json"), party.with_name("images"))


@every_name
@pytest.mark.parametrize(
    ("form", "file"),
    [(vrd, vrd.JSON), (authors_json, authors_json.RELATIONS), (authors_json, authors_json.DETECTIONS)],
)
def test_lists_of_relationships(tmp_path: Path, form: Any, file: str, make: Callable[[Path], str]) -> None:
    form.write(tmp_path, Damage.NONE)
    (path,) = tmp_path.rglob(file)
    path.write_text(path.read_text().replace('"a.jpg"', json.dumps(make(tmp_path))))
    with pytest.raises(
        ValueError, match=rf"{file}: image .*the name leads out of the image folder; this concerns 1 of 3"
    ):
        form.load(tmp_path)


@pytest.mark.parametrize("image_id", ["../a0", "/a0", "~/a0", "C:a0", "a0\\b", "http://example.invalid/a0"])
def test_openimages(tmp_path: Path, image_id: str) -> None:
    openimages_vrd.FORMAT.write(tmp_path, Damage.NONE)
    (path,) = tmp_path.rglob(openimages_vrd.CSV)
    path.write_text(path.read_text().replace("a0,", f"{image_id},", 1))
    with pytest.raises(
        ValueError, match=r"vrd\.csv: line 2, image .*: the id is no name of a file: it leads out"
    ):
        openimages_vrd.FORMAT.load(tmp_path)


NAMES_OF_CLASSES = SimpleNamespace(thing_classes=["cup"], predicate_classes=["on"])


def dataset_dict(file_name: object) -> dict[str, Any]:
    return {
        "file_name": str(file_name),
        **{
            "width": 60,
            "height": 40,
            "image_id": 1,
            "annotations": [],
            "relations": np.zeros((0, 3), dtype=np.int64),
        },
    }


def test_such_names_are_not_written_either(tmp_path: Path) -> None:
    inside, outside = (
        dataset_dict(tmp_path / "images" / "a.jpg"),
        {
            **dataset_dict(tmp_path / "secret.jpg"),
            "image_id": 2,
        },
    )
    path = tmp_path / "out.json"
    save_coco_relations([inside], NAMES_OF_CLASSES, path, tmp_path / "images")
    before = path.read_bytes()
    for image_root in (tmp_path / "images", None):
        with pytest.raises(
            ValueError, match=r"out\.json: not written: image \d .* leads out .*Give image_root"
        ):
            save_coco_relations([inside, outside], NAMES_OF_CLASSES, path, image_root)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
    save_coco_relations([inside, outside], NAMES_OF_CLASSES, path, tmp_path / "images", outside_root=True)
    assert load_coco_relations(path, tmp_path, outside_root=True)[1]["file_name"].endswith("../secret.jpg")


@pytest.mark.parametrize("name", ["../up", "/up", "a/../../up", "~up", "a\\up"])
def test_no_result_is_written_above_its_folder(tmp_path: Path, name: str, tiny_config: TinyConfig) -> None:
    (tmp_path / "out").mkdir()
    conversion = Conversion(name, lambda name: pytest.fail("registered"), [], tmp_path)
    with pytest.raises(ValueError, match="leads out of the folder"):
        convert(conversion, tmp_path / "out", {})
    with pytest.raises(ValueError, match=r"data set .* leads out of the folder"):
        Trainer.build_evaluator(tiny_config(), name)
    assert [*tmp_path.iterdir()] == [tmp_path / "out"] and not [*(tmp_path / "out").iterdir()]


def test_dicts_of_a_users_own_loader_may_name_any_picture(party: Path) -> None:
    own = dataset_dict(f"{party.parent}/images/../secret.jpg")
    DatasetCatalog.register("hostile_paths_own", lambda: [own])
    MetadataCatalog.get("hostile_paths_own").set(**vars(NAMES_OF_CLASSES))
    assert run_reldn("check", "--dataset", "hostile_paths_own") == 0


def test_the_command_names_the_record_in_one_line(party: Path, capsys: Captured) -> None:
    name = rename_first_image(party, NAMES["above"])
    words = ("train", "--data", party, "--config-file", "scenes/reldn.yaml", "--output", party.parent / "out")
    message = line_of_refusal(capsys, *words)
    assert message.startswith(f"{party.with_name('train.json')}: image 1: file_name {name!r} leads out")
