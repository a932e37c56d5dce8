"""`reldn convert annotations`, and `reldn evaluate` with a folder of predictions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.engine.folder_lock import LOCK_FILE
from reldn_d2.evaluation import load_annotations, save_predictions
from reldn_d2.utils.locks import Locking, lock
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.many_graphs import (
    CLASSES,
    NAME,
    PREDICATES,
    VOCABULARY,
    dataset_dicts,
    many_graphs,
    write_annotations,
    write_predictions,
)

GRAPHS, TRAINING = many_graphs("sgdet", 20), many_graphs("sgdet", 5, seed=3)
TRAIN = "many_graphs_train"
NOTE = "Some images are drawn."


@pytest.fixture(autouse=True)
def data_sets() -> Iterator[None]:
    for name, truths in ((NAME, GRAPHS.truths), (TRAIN, TRAINING.truths)):
        # In an order that is not the one of the ids.
        DatasetCatalog.register(name, lambda truths=truths: dataset_dicts(truths)[::-1])
        MetadataCatalog.get(name).set(thing_classes=CLASSES, predicate_classes=PREDICATES)
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN, evaluation_note=NOTE)
    yield
    for name in (NAME, TRAIN):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def folders(tmp_path: Path) -> list[object]:
    """The words that name a folder of predictions and of annotations."""
    predictions = write_predictions(tmp_path / "predictions", GRAPHS, 7)
    annotations = write_annotations(tmp_path / "annotations", GRAPHS.truths, 6)
    return ["--predictions", predictions, "--annotations", annotations]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_has_the_results_of_one_file(tmp_path: Path, capsys: Captured) -> None:
    one = tmp_path / "one.npz"
    save_predictions(
        one, GRAPHS.predictions, dataset_name=NAME, task="sgdet", num_predicates=3, vocabulary=VOCABULARY
    )
    options = ["--protocol", "motifs", "vrd2016", "openimages", "--confusion-subset"]
    assert run_reldn("evaluate", "--predictions", one, *options) == 0
    for name, size in ((NAME, 6), (TRAIN, 2_000)):
        words = ["--dataset", name, "--output", tmp_path / name, "--shard-size", size]
        assert run_reldn("convert", "annotations", *words) == 0
    assert f"Annotations of 20 images in {tmp_path / NAME}" in capsys.readouterr().out
    predictions = write_predictions(tmp_path / "predictions", GRAPHS, 7)
    found = ["--predictions", predictions, "--annotations", tmp_path / NAME]
    assert run_reldn("evaluate", *found, "--train-annotations", tmp_path / TRAIN, *options) == 0
    output = tmp_path / "predictions_scored"
    assert f"Results in {output}" in capsys.readouterr().out
    assert contents(output) == contents(tmp_path / "one_scored")
    assert NOTE.encode() in contents(output)["relation_results.md"]


def test_annotation_files_have_sizes_and_image_labels(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    image_id = next(iter(GRAPHS.truths))
    labels.write_text(f"ImageID,LabelName,Confidence\n{image_id},dog,0\n")
    words = ["--dataset", NAME, "--output", tmp_path / "out", "--image-labels", labels]
    assert run_reldn("convert", "annotations", *words) == 0
    (path,) = (tmp_path / "out").iterdir()
    found = load_annotations(path)
    assert found.truths[image_id].verified_classes.tolist() == [1]
    assert set(found.sizes.values()) == {(40, 40)}


def test_boxes_in_shares_of_the_image_are_refused(
    folders: list[object], tmp_path: Path, capsys: Captured
) -> None:
    smaller = {i: type(x)(x.boxes / 40, *list(vars(x).values())[1:]) for i, x in GRAPHS.predictions.items()}
    graphs = type(GRAPHS)("sgdet", GRAPHS.truths, smaller)
    folders[1] = write_predictions(tmp_path / "shares", graphs, 20)
    message = line_of_refusal(capsys, "evaluate", *folders, "--protocol", "motifs")
    assert f"{tmp_path / 'shares' / 'part-000000.npz'}: All " in message
    assert "they seem to be shares of the width" in message


@pytest.mark.parametrize(("size", "status"), [(5, 0), (20, 2)])
def test_boxes_that_stick_out_are_refused_only_where_images_are_many(
    size: int, status: int, tmp_path: Path, capsys: Captured
) -> None:
    """In a file of few images, one odd image has many of the boxes."""
    far = {i: type(x)(x.boxes + 1000, *list(vars(x).values())[1:]) for i, x in GRAPHS.predictions.items()}
    predictions = write_predictions(tmp_path / "far", type(GRAPHS)("sgdet", GRAPHS.truths, far), size)
    annotations = write_annotations(tmp_path / "annotations", GRAPHS.truths, size)
    words = ["--predictions", predictions, "--annotations", annotations, "--protocol", "motifs"]
    assert run_reldn("evaluate", *words) == status
    said = "".join(capsys.readouterr())
    assert f"{'error' if status else 'WARNING'}: {predictions / 'part-000000.npz'}: " in said
    assert "boxes stick out of their images" in said


def test_boxes_of_smaller_copies_are_warned_of(tmp_path: Path, capsys: Captured) -> None:
    found = many_graphs("sgdet", 60)
    smaller = {i: type(x)(x.boxes / 2, *list(vars(x).values())[1:]) for i, x in found.predictions.items()}
    graphs = type(found)("sgdet", found.truths, smaller)
    words = ["--predictions", write_predictions(tmp_path / "copies", graphs, 60)]
    words += ["--annotations", write_annotations(tmp_path / "of_copies", found.truths, 60)]
    assert run_reldn("evaluate", *words, "--protocol", "motifs") == 0
    warning = f"WARNING: {tmp_path / 'copies' / 'part-000000.npz'}: No box of 48 images comes nearer"
    assert warning in capsys.readouterr().out


def test_a_folder_in_use(folders: list[object], tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "results").mkdir()
    with (tmp_path / "results" / LOCK_FILE).open("w") as file:
        assert lock(file.fileno()) is Locking.DONE
        message = line_of_refusal(capsys, "evaluate", *folders, "--output", tmp_path / "results")
    assert f"{tmp_path / 'results'} is in use by another run" in message
    assert "or add --output FOLDER" in message


def test_wrong_usage(folders: list[object], capsys: Captured, tmp_path: Path) -> None:
    one = ["--predictions", "one.npz"]
    for words, expected in (
        ([*one, "--processes", "2"], "--processes is for a folder of predictions: give --annotations, too"),
        ([*one, "--restart"], "--restart is for a model: leave it out with --predictions"),
        (["--weights", "x", "--annotations", "y"], "--annotations is for saved predictions"),
        ([*folders, "--dataset", NAME], "--dataset is for `reldn convert annotations`"),
        ([*folders, "--train-dataset", NAME], "--train-dataset is not for a folder of predictions"),
        ([*folders, "--skip-unreadable"], "--skip-unreadable is not for a folder of predictions"),
    ):
        assert expected in usage_error(capsys, "evaluate", *words)
    words = ["convert", "annotations", "--output", tmp_path / "new", "--dataset", NAME, TRAIN]
    assert "a folder has the annotations of one --dataset" in usage_error(capsys, *words)
    message = line_of_refusal(capsys, "evaluate", *folders[:2])
    assert "but a folder: give the folder of its annotations, too" in message
    message = line_of_refusal(capsys, "evaluate", *folders, "--task", "sgcls")
    assert "--task sgcls:" in message and "holds predictions of sgdet" in message
    message = line_of_refusal(capsys, "evaluate", *folders, "--task", "sgcls", "sgdet")
    assert "a folder of predictions is of one task" in message
