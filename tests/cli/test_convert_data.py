"""`reldn convert vrd` and so on, on small data sets in the official layouts."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from reldn_d2.data import load_coco_relations, load_vrd
from reldn_d2.data.datasets.authors_json import load_authors_json
from reldn_d2.data.datasets.openimages.vrd import load_openimages_vrd
from reldn_d2.data.datasets.visual_genome.raw import load_visual_genome_raw
from reldn_d2.data.datasets.visual_genome.vg150 import load_vg150
from reldn_d2.data.datasets.vrd import OBJECT_CLASSES, PREDICATE_CLASSES
from tests.builders.commands import line_of_refusal, run_reldn, usage_error
from tests.builders.vg150_files import TEST, Photo, write_vg150
from tests.builders.visual_genome_files import relationship as vg_relationship
from tests.builders.visual_genome_files import thing, write_files
from tests.builders.vrd_records import CUP, PERSON, relationship

NAME = "test_convert_data"
Prepare = Callable[..., str]


@pytest.fixture
def prepare(capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Runs `reldn convert` and returns its output."""

    def run(*words: object) -> str:
        assert run_reldn("convert", *words) == 0
        return capsys.readouterr().out

    return run


def same(converted: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(converted) == len(expected) > 0
    for found, right in zip(converted, expected, strict=True):
        assert found["file_name"] == right["file_name"]
        for key in ("height", "width", "image_id"):
            assert found[key] == right[key]
        np.testing.assert_allclose(
            found["annotations"].boxes, right["annotations"].boxes, rtol=0, atol=2**-32
        )
        np.testing.assert_array_equal(found["annotations"].classes, right["annotations"].classes)
        np.testing.assert_array_equal(found["relations"], right["relations"])
        np.testing.assert_array_equal(found.get("verified_classes", ()), right.get("verified_classes", ()))


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


@pytest.fixture
def vrd(tmp_path: Path) -> Path:
    folder = tmp_path / "vrd" / "json_dataset"
    folder.mkdir(parents=True)
    for split, names in (("train", ("a.jpg", "b.jpg")), ("test", ("c.jpg",))):
        records = {name: [relationship(PERSON, CUP)] for name in names} | (
            {"b.jpg": []} if "b.jpg" in names else {}
        )
        (folder / f"annotations_{split}.json").write_text(json.dumps(records))
        for name in names:
            picture(folder.parent / "sg_dataset" / f"sg_{split}_images" / name)
    (folder / "objects.json").write_text(json.dumps(OBJECT_CLASSES))
    (folder / "predicates.json").write_text(json.dumps(PREDICATE_CLASSES))
    return folder.parent


def test_vrd_is_found_below_the_folder_of_all_data_sets(
    vrd: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(vrd.parent))
    printed = prepare("vrd").splitlines()
    for split, line in (("train", printed[0]), ("test", printed[2])):
        path = vrd / "coco_relations" / f"vrd_{split}.json"
        assert line.startswith(f"{path} was written: {2 if split == 'train' else 1} images")
        same(load_coco_relations(path, vrd / "sg_dataset" / f"sg_{split}_images"), load_vrd(vrd, split))
    assert 'train_dataset="vrd_train_coco"' not in printed[1]
    assert 'train_dataset="vrd_train_coco"' in printed[3]


def test_only_what_changed_is_converted_again(vrd: Path, prepare: Prepare) -> None:
    arguments = ("vrd", "--input", vrd)
    prepare(*arguments)
    test = vrd / "json_dataset" / "annotations_test.json"
    test.write_text(json.dumps({"c.jpg": []}))
    states = [line.split()[1:4] for line in prepare(*arguments).splitlines()[::2]]
    assert states == [["is", "up", "to"], ["was", "written:", "1"]]
    printed = prepare(*arguments, "--splits", "test", "--force", "--output", vrd / "elsewhere")
    assert printed.startswith(f"{vrd / 'elsewhere' / 'vrd_test.json'} was written")
    assert len(printed.splitlines()) == 2
    assert "is up to date" not in prepare(*arguments, "--force")


def test_files_of_another_data_set_in_the_layout_of_vrd_are_named_as_its_folder(
    vrd: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = vrd.rename(vrd.with_name("vrd_mini"))
    printed = prepare("vrd", "--input", mini).splitlines()
    assert printed[2].startswith(f"{mini / 'coco_relations' / 'vrd_mini_test.json'} was written")
    assert 'register_coco_relations("vrd_mini_test_coco"' in printed[3]
    assert 'train_dataset="vrd_mini_train_coco"' in printed[3]
    monkeypatch.chdir(mini / "json_dataset")
    assert "vrd_mini_test.json was written" in prepare("vrd", "--input", "..", "--splits", "test")


def test_an_interrupt_is_one_line_and_exit_status_130(
    vrd: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("vrd", "--input", vrd)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("reldn_d2.data.conversion.save_coco_relations", stop)
        assert run_reldn("convert", *arguments) == 130
    said = "interrupted: 0 of 2 data sets are converted; the same command goes on\n"
    assert capsys.readouterr().err == said
    assert "was written" in prepare(*arguments)


def test_visual_genome_150(tmp_path: Path, prepare: Prepare) -> None:
    overlapping = ((100, 100, 40, 60), (110, 120, 200, 100))
    photos = [
        Photo(7, relations=((0, 1, 3), (0, 1, 4)), boxes=overlapping),
        Photo(8, relations=()),
        Photo(9),
        Photo(10, split=TEST, boxes=overlapping),
    ]
    write_vg150(tmp_path, photos)
    picture(tmp_path / "VG_100K" / "7.jpg")
    picture(tmp_path / "VG_100K_2" / "10.jpg")
    splits = ("--splits", "trainval", "test")
    printed = prepare("visual-genome", "--input", tmp_path, *splits).splitlines()
    for split in ("trainval", "test"):
        path = tmp_path / "coco_relations" / f"vg150_{split}.json"
        same(load_coco_relations(path, tmp_path), load_vg150(tmp_path, split))
    assert "train_dataset" not in printed[1]
    assert 'train_dataset="vg150_trainval_coco"' in printed[3]
    filters = {"keep_empty": True, "drop_duplicates": True, "overlapping_only": True}
    for name in filters:
        output = tmp_path / name
        prepare(
            "visual-genome", "--input", tmp_path, "--splits", "trainval", "--output", output,
            f"--{name.replace('_', '-')}",
        )  # fmt: skip
        expected = load_vg150(tmp_path, "trainval", **{name: True})
        same(load_coco_relations(output / "vg150_trainval.json", tmp_path), expected)


def test_raw_visual_genome(tmp_path: Path, prepare: Prepare) -> None:
    man, cup = thing(1, "man"), thing(2, "cup", 0, 0, 100, 80)
    write_files(tmp_path, {5: [man, cup], 6: [man]}, {5: [vg_relationship(man, "on", cup)], 6: []})
    assert "visual_genome_raw_coco" in prepare("visual-genome", "--raw", "--input", tmp_path)
    converted = load_coco_relations(tmp_path / "coco_relations" / "visual_genome_raw.json", tmp_path)
    same(converted, load_visual_genome_raw(tmp_path))
    assert [len(image["relations"]) for image in converted] == [1, 0]


@pytest.mark.parametrize(
    "options", [["--splits", "test"], ["--keep-empty"], ["--drop-duplicates"], ["--overlapping-only"]]
)
def test_options_of_vg150_are_refused_for_raw_visual_genome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    message = usage_error(capsys, "convert", "visual-genome", "--raw", "--input", tmp_path, *options)
    assert message.endswith(f"leave out {options[0]}")


MAN, CHAIR, GUITAR = "/m/04yx4", "/m/01mzpv", "/m/0342h"
COLUMNS = "ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2,RelationshipLabel"


@pytest.fixture
def openimages(tmp_path: Path) -> Path:
    rows = [
        f"{{}},{MAN},{GUITAR},0.1,0.5,0.2,0.9,0.3,0.7,0.4,0.8,plays",
        f"{{}},{MAN},{CHAIR},0.1,0.5,0.2,0.9,0.123457,0.6,0.5,1,on",
        f"{{}},{CHAIR},/m/083vt,0.123457,0.6,0.5,1,0.123457,0.6,0.5,1,is",
    ]
    for split, image in (("train", "00ab"), ("validation", "00cd")):
        text = "\n".join([COLUMNS, *(row.format(image) for row in rows)]) + "\n"
        (tmp_path / f"challenge-2018-{split}-vrd.csv").write_text(text)
        picture(tmp_path / split / f"{image}.jpg", (1024, 683))
    labels = f"ImageID,Source,LabelName,Confidence\n00cd,verification,{GUITAR},1\n00cd,verification,{MAN},0\n"
    (tmp_path / "challenge-2018-validation-vrd-labels.csv").write_text(labels)
    return tmp_path


def test_openimages(openimages: Path, prepare: Prepare) -> None:
    prepare("openimages", "--input", openimages)
    try:
        for split in ("train", "val"):
            path = openimages / "coco_relations" / f"openimages_vrd_{split}.json"
            converted = load_coco_relations(path, openimages, f"{NAME}_{split}")
            expected = load_openimages_vrd(openimages, split, dataset_name=f"{NAME}_{split}_csv")
            same(converted, expected)
            found, right = (MetadataCatalog.get(f"{NAME}_{split}{kind}") for kind in ("", "_csv"))
            for key in ("thing_classes", "predicate_classes", "class_labels", "predicate_labels"):
                assert getattr(found, key) == list(getattr(right, key))
            assert "/m/04yx4" in found.class_labels
        assert sorted(found.class_labels[i] for i in converted[0]["verified_classes"]) == [GUITAR, MAN]
    finally:
        for split in ("train", "val", "train_csv", "val_csv"):
            MetadataCatalog.pop(f"{NAME}_{split}", None)


def test_the_mini_subset_of_too_few_images_is_refused_in_one_line(
    openimages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = line_of_refusal(capsys, "convert", "openimages", "--mini", "--input", openimages)
    assert re.search("4,?500", message)


def test_the_authors_json(tmp_path: Path, prepare: Prepare) -> None:
    files = {
        "rel_annotations_train.json": {"a.jpg": [relationship(PERSON, CUP)], "b.jpg": []},
        "detections_train.json": {"a.jpg": [PERSON], "b.jpg": [CUP]},
        "objects.json": OBJECT_CLASSES,
        "predicates.json": PREDICATE_CLASSES,
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "images" / name)
    annotations, detections, objects, predicates = (tmp_path / name for name in files)
    arguments = (
        "authors-json", "--annotations", annotations, "--image-root", tmp_path / "images",
        "--classes", objects, "--predicates", predicates, "--output", tmp_path / "out",
    )  # fmt: skip
    prepare(*arguments)
    names = {"thing_classes": OBJECT_CLASSES, "predicate_classes": PREDICATE_CLASSES}
    expected = load_authors_json(annotations, tmp_path / "images", **names)
    same(load_coco_relations(tmp_path / "out" / "rel_annotations_train.json", tmp_path / "images"), expected)
    prepare(*arguments, "--detections", detections, "--name", "all")
    expected = load_authors_json(annotations, tmp_path / "images", detections_json=detections, **names)
    converted = load_coco_relations(tmp_path / "out" / "all.json", tmp_path / "images")
    same(converted, expected)
    assert [len(image["annotations"]) for image in converted] == [2, 1]


def test_a_missing_data_set_is_one_line_and_exit_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = line_of_refusal(capsys, "convert", "vrd", "--input", tmp_path)
    assert "objects.json does not exist" in message


def test_visual_genome_150_means_all_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "VG-SGG" in line_of_refusal(capsys, "convert", "visual-genome", "--input", tmp_path)


def test_development_data_convert(dev_data: Path, tmp_path: Path, prepare: Prepare) -> None:
    prepare("vrd", "--input", dev_data / "vrd_mini", "--output", tmp_path, "--splits", "test")
    images = dev_data / "vrd_mini" / "sg_dataset" / "sg_test_images"
    same(
        load_coco_relations(tmp_path / "vrd_mini_test.json", images), load_vrd(dev_data / "vrd_mini", "test")
    )
