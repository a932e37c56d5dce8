"""`reldn evaluate --predictions` where the pictures are not there."""

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import (
    load_label_studio,
    load_vrd,
    register_openimages_vrd,
    register_relation_dataset,
    without_pictures,
)
from reldn_d2.evaluation import PredictedGraph, rank_triplets, save_predictions
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.io.results import RESULTS_FILE
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.dataset_formats import (
    authors_json,
    coco_relations,
    label_studio,
    openimages_vrd,
    vg150,
    visual_genome_raw,
    vrd,
)
from tests.builders.dataset_formats.damage import Damage, Format
from tests.builders.label_studio_files import WIDTH, annotation, picture, task, write_export

NAME = "evaluate_without_pictures"
FORMATS = [
    *(vrd.FORMAT, authors_json.FORMAT, openimages_vrd.FORMAT, vg150.FORMAT, visual_genome_raw.FORMAT),
    *(coco_relations.FORMAT, label_studio.FORMAT),
]
# Formats whose files do not say the sizes -> sizes of the images.
SIZES = {
    "vrd": [("a.jpg", 40, 30), ("b", 40, 30), ("c.jpg", 40, 30)],  # an id, or the name without its ending
    "openimages_vrd": [(name, openimages_vrd.WIDTH, openimages_vrd.HEIGHT) for name in ("a0", "b1", "c2")],
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.remove(NAME)


def write(root: Path, kind: Format) -> dict[str, str]:
    """Write a small data set and register it. Returns image id -> file of its picture."""
    kind.write(root, Damage.NONE)
    names = [[str(number) for number in range(count)] for count in (kind.num_classes, kind.num_predicates)]
    register_relation_dataset(
        NAME, lambda: kind.load(root), {}, thing_classes=names[0], predicate_classes=names[1]
    )
    return {str(image["image_id"]): image["file_name"] for image in DatasetCatalog.get(NAME)}


def predictions(num_classes: int, num_predicates: int) -> dict[str, PredictedGraph]:
    """The annotated entities, a little too narrow; those of the first image are not found."""
    random = np.random.default_rng(4)
    graphs: dict[str, PredictedGraph] = {}
    for image_id, truth in ground_truth_graphs(DatasetCatalog.get(NAME), num_classes, num_predicates).items():
        moved = truth.boxes.copy()
        moved[:, 2] = moved[:, 0] + (moved[:, 2] - moved[:, 0]) * (0.9 if graphs else 0.3)
        pairs = np.argwhere(~np.eye(len(moved), dtype=bool))
        probs = np.zeros((len(pairs), num_predicates))
        probs[:, truth.relations[0, 2]] = random.random(len(pairs))
        ranked = rank_triplets(*pairs.T, np.ones(len(pairs)), probs, list_length=100)
        graphs[image_id] = PredictedGraph(moved, truth.classes, np.ones(len(moved)), ranked)
    return graphs


def saved(root: Path, kind: Format) -> Path:
    graphs = predictions(kind.num_classes, kind.num_predicates)
    path = root / "p.npz"
    save_predictions(path, graphs, dataset_name=NAME, task="sgdet", num_predicates=kind.num_predicates)
    return path


def sizes_file(folder: Path, rows: list[tuple[str, int, int]]) -> Path:
    path = folder / "sizes.csv"
    path.write_text("\n".join(["image_id,width,height", *(",".join(map(str, row)) for row in rows), ""]))
    return path


def words_for(path: Path, *options: object) -> list[object]:
    return ["evaluate", f"--predictions={path}", f"--output={path.parent / 'scored'}", *options]


def numbers(path: Path, *options: object) -> dict[tuple[str, str], str]:
    """(protocol, metric) -> value as text."""
    assert run_reldn(*words_for(path, *options)) == 0
    with (path.parent / "scored" / RESULTS_FILE).open() as file:
        return {(row["protocol"], row["metric"]): row["value"] for row in csv.DictReader(file)}


def remove_pictures(pictures: dict[str, str]) -> None:
    for file in map(Path, pictures.values()):
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_the_numbers_are_those_with_pictures(tmp_path: Path, kind: Format) -> None:
    pictures = write(tmp_path, kind)
    path = saved(tmp_path, kind)
    options = ("--protocol", "motifs", "openimages")
    with_pictures = numbers(path, *options)
    assert 0 < float(with_pictures["motifs", "R@20"]) < 100
    remove_pictures(pictures)
    if kind.name in SIZES:
        options = (*options, "--image-sizes", sizes_file(tmp_path, SIZES[kind.name]))
    assert numbers(path, *options) == with_pictures


def test_pixels_need_no_sizes_and_the_log_says_what_is_not_clipped(tmp_path: Path, capsys: Captured) -> None:
    pictures = write(tmp_path, vrd.FORMAT)
    path = saved(tmp_path, vrd.FORMAT)
    with_pictures = numbers(path, "--protocol", "motifs", "vrd2016")
    Path(pictures["b.jpg"]).unlink()
    assert numbers(path, "--protocol", "motifs", "vrd2016") == with_pictures
    assert "neither a picture nor a known size for 1 of 3 images, such as b.jpg" in capsys.readouterr().out
    remove_pictures(pictures)
    assert numbers(path, "--protocol", "motifs", "vrd2016") == with_pictures
    with pytest.raises(FileNotFoundError, match="3 of 3 images"):
        DatasetCatalog.get(NAME)  # as a training loads it


def test_a_known_size_clips_a_box_and_an_unknown_one_does_not(tmp_path: Path) -> None:
    vrd.write(tmp_path, Damage.BOX_OUTSIDE)  # a box of the first image ends at x = 99
    shutil.rmtree(tmp_path / "sg_dataset")
    with without_pictures({"a.jpg": (40, 30)}) as known:
        clipped = load_vrd(tmp_path, "train")
    assert known.used == 1 and (clipped[0]["width"], clipped[0]["height"]) == (40, 30)
    assert clipped[0]["annotations"].boxes[:, 2].max() == 40
    with without_pictures():
        whole = load_vrd(tmp_path, "train")
    assert whole[0]["annotations"].boxes[:, 2].max() == 99 and "width" not in whole[0]


def test_label_studio_says_sizes_unless_a_task_has_no_regions(tmp_path: Path) -> None:
    with_regions = task(1, annotation(*label_studio.INTACT), image="1.png")
    write_export(tmp_path, with_regions, task(2, annotation(), image="2.png"))
    with without_pictures():
        images = label_studio.load(tmp_path)
    assert [image.get("width") for image in images] == [WIDTH, None]
    with without_pictures({"2": (8, 6)}) as known:
        assert label_studio.load(tmp_path)[1]["width"] == 8
    assert known.used == 1
    with pytest.raises(FileNotFoundError, match="There is no image folder"):
        label_studio.load(tmp_path)
    picture(tmp_path / "photos" / "2.png")
    with without_pictures():
        skipped = load_label_studio(tmp_path / "export.json", tmp_path / "photos", skip_missing_images=True)
        assert len(label_studio.load(tmp_path)) == 2
    assert [image["image_id"] for image in skipped] == [2]  # as in training


def test_shares_need_sizes(tmp_path: Path, capsys: Captured) -> None:
    pictures = write(tmp_path, openimages_vrd.FORMAT)
    path = saved(tmp_path, openimages_vrd.FORMAT)
    remove_pictures(pictures)
    message = line_of_refusal(capsys, *words_for(path))
    assert "neither a picture nor a known size for 3 of 3 images, such as a0.jpg" in message
    assert "--image-sizes FILE.csv" in message
    some = sizes_file(tmp_path, SIZES["openimages_vrd"][:2])
    message = line_of_refusal(capsys, *words_for(path, "--image-sizes", some))
    assert "1 of 3 images" in message and "c2.jpg" in message


def test_a_submission_has_shares_too(tmp_path: Path, capsys: Captured) -> None:
    kind = openimages_vrd.FORMAT
    kind.write(tmp_path, Damage.NONE)
    register_openimages_vrd(NAME, tmp_path, "train")
    npz = saved(tmp_path, kind)
    path = tmp_path / "s.csv"
    assert run_reldn("evaluate", "--predictions", npz, "--submission", path) == 0
    options = ("--dataset", NAME)
    with_pictures = numbers(path, *options)
    assert 0 < float(with_pictures["openimages", "mAP_rel"]) < 100
    shutil.rmtree(tmp_path / "train")
    assert numbers(path, *options) == with_pictures
    pixels = (*options, "--protocol", "openimages", "motifs")
    message = line_of_refusal(capsys, *words_for(path, *pixels))
    assert message.startswith("--protocol motifs counts whole pixels, and there is neither")
    sizes = sizes_file(tmp_path, SIZES["openimages_vrd"])
    assert ("motifs", "R@20") in numbers(path, *pixels, "--image-sizes", sizes)


def test_a_file_of_sizes_that_is_of_no_use_is_refused(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path, coco_relations.FORMAT)
    path = saved(tmp_path, coco_relations.FORMAT)
    sizes = sizes_file(tmp_path, [("1", 40, 30)])
    message = line_of_refusal(capsys, *words_for(path, "--image-sizes", sizes))
    assert "sizes.csv: no size was used" in message and NAME in message
    words = ("evaluate", "--weights", "x", "--image-sizes", sizes)
    assert usage_error(capsys, *words).startswith("--image-sizes is for saved predictions")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,0,30", r"sizes\.csv: line 3, image a\.jpg: width '0' .* whole numbers above 0"),
        ("a.jpg,40.5,30", "line 3, image a.jpg: width '40.5'"),
        ("a.jpg,40", "line 3, image a.jpg: 2 fields"),
        ("b,41,30", "line 3, image b: an earlier line has another size"),
    ],
)
def test_wrong_sizes_are_named(tmp_path: Path, capsys: Captured, line: str, message: str) -> None:
    write(tmp_path, vrd.FORMAT)
    path = saved(tmp_path, vrd.FORMAT)
    sizes = tmp_path / "sizes.csv"
    sizes.write_text(f"image_id,width,height\nb,40,30\n{line}\n")
    assert re.search(message, line_of_refusal(capsys, *words_for(path, "--image-sizes", sizes)))
