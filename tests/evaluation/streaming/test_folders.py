"""What is refused in folders of predictions and annotations, by file and image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.evaluation import (
    AnnotatedSet,
    AnnotationShardWriter,
    PredictedGraph,
    evaluate_folders,
    load_annotations,
    save_annotations,
    save_predictions,
)
from reldn_d2.evaluation.graph_metrics import _parts
from reldn_d2.evaluation.io.predictions import read_predictions
from reldn_d2.evaluation.streaming import evaluation
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.io import digest
from tests.builders.many_graphs import (
    NAME,
    VOCABULARY,
    many_graphs,
    write_annotations,
    write_predictions,
)

GRAPHS = many_graphs("sgdet", 12)
IDS = list(GRAPHS.truths)
OTHER_NAMES = Vocabulary(["cat", "cow"], VOCABULARY.predicate_classes)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of three prediction and four annotation files."""
    return (
        write_predictions(tmp_path / "predictions", GRAPHS, 4),
        write_annotations(tmp_path / "annotations", GRAPHS.truths, 3),
    )


def refused(predictions: Path, annotations: Path, **options: object) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        evaluate_folders(predictions, annotations, ["motifs"], predictions.parent / "results", **options)
    return str(caught.value)


def changed(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Writes a file again, with other arrays."""
    arrays = read_arrays(path, (), what="file", remedy="")
    change(arrays)
    write_arrays(path, arrays)


def predictions_of(path: Path, ids: list[str], name: str = NAME, **options: object) -> None:
    graphs = {i: GRAPHS.predictions.get(i, PredictedGraph.empty()) for i in ids}
    settings = {"task": "sgdet", "num_predicates": 3, "vocabulary": VOCABULARY, **options}
    save_predictions(path, graphs, dataset_name=name, **settings)


def test_no_folder_and_no_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert "nowhere is no folder: give the folder of the prediction files" in refused(
        tmp_path / "nowhere", folders[1]
    )
    (tmp_path / "empty").mkdir()
    assert "empty has no annotation file (*.npz)" in refused(folders[0], tmp_path / "empty")


def test_the_folders_the_other_way_round(folders: tuple[Path, Path]) -> None:
    expected = f"{folders[1] / 'part-000000.npz'}: no prediction file (it lacks the array 'task')"
    assert expected in refused(*folders[::-1])


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 0, 2, 3]])
def test_ids_that_do_not_rise(folders: tuple[Path, Path], order: list[int]) -> None:
    path = folders[0] / "part-000001.npz"
    ids = [IDS[4 + i] for i in order]
    changed(path, lambda arrays: arrays.update(image_id=np.array(ids)))
    problem = "is there twice" if ids[0] == ids[1] else f"comes after image {ids[0]}"
    assert f"{path}: image {ids[1]} {problem}" in refused(*folders)


def test_files_with_the_same_image(folders: tuple[Path, Path]) -> None:
    predictions_of(folders[0] / "more.npz", IDS[5:6])
    message = refused(*folders)
    assert f"{folders[0] / 'part-000001.npz'} and {folders[0] / 'more.npz'} both have images from" in message
    assert IDS[5] in message


@pytest.mark.parametrize("unknown", ["!before", f"{IDS[5]}!", "zzz"])
def test_predictions_for_unknown_images(folders: tuple[Path, Path], unknown: str) -> None:
    path = folders[0] / "part-000001.npz"
    path.unlink()
    (folders[0] / "part-000002.npz").unlink()
    (folders[0] / "part-000000.npz").unlink()
    predictions_of(path, sorted([*IDS, unknown]))
    assert f"{path}: image {unknown}: the annotations in {folders[1]} have no image" in refused(*folders)


def test_missing_predictions(folders: tuple[Path, Path]) -> None:
    (folders[0] / "part-000001.npz").unlink()
    message = refused(*folders)
    assert f"no prediction for 4 of 12 images: image {', '.join(IDS[4:8])}; with --allow-missing" in message
    assert evaluate_folders(*folders, ["motifs"], folders[0].parent / "results", allow_missing=True)


def test_files_of_another_data_set_task_or_vocabulary(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "part-000001.npz"
    predictions_of(path, IDS[4:8], "other")
    assert f"{path}: its dataset_name is 'other', and that of" in refused(*folders)
    predictions_of(path, IDS[4:8], task="prdcls")
    assert f"{path}: its task is 'prdcls', and that of" in refused(*folders)
    predictions_of(path, IDS[4:8], vocabulary=OTHER_NAMES)
    message = refused(*folders)
    assert f"{path}: its thing_classes are others than those of" in message
    assert "number 1 (from 0) is 'cow' here and 'dog' there" in message
    predictions_of(path, IDS[4:8], vocabulary=None)
    assert f"{path}: it and" in refused(*folders)


def test_files_of_earlier_releases_beside_new_ones(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for path in folder.iterdir():
            changed(path, lambda arrays: arrays.update(dataset_name=np.array("reldn_vrd_test")))
    old = {"dataset_name": np.array("vrd_test"), "task": np.array("SGDET")}
    changed(folders[0] / "part-000001.npz", lambda arrays: arrays.update(old))
    assert evaluate_folders(*folders, ["motifs"], folders[0].parent / "results")


def test_folders_of_different_data(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_annotations(tmp_path / "other", GRAPHS.truths, 5, name="other")
    assert "has predictions for 'many_graphs', and" in refused(folders[0], other)
    with AnnotationShardWriter(tmp_path / "names", AnnotatedSet(NAME, OTHER_NAMES)) as writer:
        for image_id in IDS:
            writer.add(image_id, GRAPHS.truths[image_id])
    assert "number 1 (from 0) is 'dog' here and 'cow' there" in refused(folders[0], tmp_path / "names")
    message = refused(*folders, train_annotations=tmp_path / "names")
    assert f"{tmp_path / 'names'} is no training split of the evaluated data" in message


def test_another_task_than_the_wanted_one(folders: tuple[Path, Path]) -> None:
    assert f"--task prdcls: {folders[0]} holds predictions of sgdet" in refused(*folders, task="prdcls")


@pytest.mark.parametrize("which", [0, 1])
def test_a_half_file(folders: tuple[Path, Path], which: int) -> None:
    path = folders[which] / "part-000001.npz"
    path.write_bytes(path.read_bytes()[:-100])
    what = ("prediction", "annotation")[which]
    message = refused(*folders)
    assert f"{path}: not a complete {what} file" in message and f"write the {what} files again" in message


@pytest.mark.parametrize("which", [0, 1])
def test_a_changed_file(folders: tuple[Path, Path], which: int) -> None:
    path = folders[which] / "part-000001.npz"
    arrays = dict(np.load(path))
    arrays["classes"] = arrays["classes"][::-1] + 1
    np.savez(path, **arrays)
    assert f"{path}: changed or damaged after it was written" in refused(*folders)


def test_a_class_out_of_range_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "part-000001.npz"
    changed(path, lambda arrays: arrays.update(classes=arrays["classes"] + 9))
    message = refused(*folders)
    assert f"{path}: image " in message and "must be in [0, 2), found" in message


def test_an_annotation_out_of_range_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "part-000001.npz"
    changed(path, lambda arrays: arrays.update(relations=arrays["relations"] + 9))
    message = refused(*folders)
    assert f"{path}: image " in message and "relation subject must be in" in message


def test_nothing_annotated(tmp_path: Path) -> None:
    truths = {i: many_graphs("sgdet", 1).truths for i in "ab"}
    nothing = {i: next(iter(truth.values())) for i, truth in truths.items()}
    nothing = {i: type(x)(x.boxes, x.classes, x.relations[:0]) for i, x in nothing.items()}
    predictions_of(tmp_path / "a.npz", list(nothing))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "a.npz").rename(tmp_path / "predictions" / "a.npz")
    annotations = write_annotations(tmp_path / "annotations", nothing, 1)
    assert "no annotated relationship" in refused(tmp_path / "predictions", annotations)
    assert "no image in the annotation files" in refused(
        tmp_path / "predictions", write_annotations(tmp_path / "none", {}, 1)
    )


def test_a_file_that_changes_meanwhile_is_named(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, join = folders[1] / "part-000001.npz", evaluation.join

    def change_then(*args: object, **options: object) -> object:
        parts = join(*args, **options)
        changed(path, lambda arrays: arrays.update(image_id=arrays["image_id"] + "x"))
        return parts

    monkeypatch.setattr(evaluation, "join", change_then)
    assert f"image {IDS[3]}: {path} had it when the evaluation began" in refused(*folders)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_prediction_that_vanishes_meanwhile_is_no_empty_one(
    allow_missing: bool, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    join = evaluation.join

    def join_then_lose_one(*args: object, **options: object) -> object:
        parts = join(*args, **options)
        predictions_of(folders[0] / "part-000002.npz", IDS[8:11])
        return parts

    monkeypatch.setattr(evaluation, "join", join_then_lose_one)
    message = refused(*folders, allow_missing=allow_missing)
    assert "3 images of" in message and "when the evaluation began, and 2 have them now" in message


class WithoutColumns:
    """A protocol of another project."""

    name, tasks, list_length = "other", ("sgdet",), 100

    def check_vocabulary(self, predicate_classes: object) -> None:
        """Accept any."""

    def queries(self, truth: object, task: object) -> object: ...

    def match(self, image: object, task: object) -> object: ...

    def summarise(self, image_ids: object, records: object, split: object) -> object: ...


def test_a_protocol_without_columns(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="protocol other can't be evaluated from shards"):
        evaluate_folders(*folders, [WithoutColumns()], folders[0].parent / "results")


def test_annotations_are_read_as_they_were_written(tmp_path: Path) -> None:
    about = AnnotatedSet(NAME, VOCABULARY, "A note.")
    sizes = {IDS[0]: (30, 40)}
    save_annotations(tmp_path / "a.npz", dict(reversed(GRAPHS.truths.items())), about, sizes)
    found = load_annotations(tmp_path / "a.npz")
    assert found.about == about and list(found.truths) == IDS
    assert found.sizes == {**dict.fromkeys(IDS, (0, 0)), **sizes}
    for image_id, truth in GRAPHS.truths.items():
        for name, array in vars(truth).items():
            read = getattr(found.truths[image_id], name)
            np.testing.assert_array_equal(read, array)
            assert read.shape == array.shape


def test_annotations_without_the_optional_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_annotations(path, GRAPHS.truths, AnnotatedSet(NAME, VOCABULARY, "A note."), {IDS[0]: (30, 40)})
    optional = ("evaluation_note", "sizes", "verified_offsets", "verified_classes")
    changed(path, lambda arrays: [arrays.pop(name) for name in optional])
    found = load_annotations(path)
    assert found.about.evaluation_note == "" and set(found.sizes.values()) == {(0, 0)}
    assert all(not len(truth.verified_classes) for truth in found.truths.values())
    changed(path, lambda arrays: arrays.update(sizes=np.zeros((3, 2), dtype=np.int64)))
    with pytest.raises(ValueError, match=r"a.npz: 'sizes' must have shape \(12, 2\), not \(3, 2\)"):
        load_annotations(path)


def test_only_the_images_of_a_part_are_made_of_a_prediction_file(tmp_path: Path) -> None:
    predictions_of(tmp_path / "a.npz", IDS)
    every = read_predictions(tmp_path / "a.npz").predictions
    for rows in (slice(None), slice(0, 3), slice(3, 7), slice(7, 12), slice(5, 5)):
        found = read_predictions(tmp_path / "a.npz", lambda _, rows=rows: rows).predictions
        assert list(found) == IDS[rows]
        assert all(digest(_parts((graph,))) == digest(_parts((every[i],))) for i, graph in found.items())


def test_a_writer_refuses_ids_that_do_not_rise(tmp_path: Path) -> None:
    for ids, problem in ((["b", "a"], "comes after image b"), (["a", "a"], "was given twice")):
        with (
            pytest.raises(ValueError, match=f"image a {problem}: give every image once, in the rising order"),
            AnnotationShardWriter(tmp_path / "new", AnnotatedSet(NAME, VOCABULARY)) as writer,
        ):
            for image_id in ids:
                writer.add(image_id, GRAPHS.truths[IDS[0]])
    assert list(tmp_path.iterdir()) == []


def test_a_writer_replaces_no_folder(folders: tuple[Path, Path]) -> None:
    before = sorted(folders[1].iterdir())
    with pytest.raises(ValueError, match="is there already: delete it, or choose another folder"):
        write_annotations(folders[1], GRAPHS.truths, 2)
    assert sorted(folders[1].iterdir()) == before


def test_a_writer_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / "new.unfinished"
    left.mkdir()
    (left / "part-000007.npz").write_bytes(b"half")
    folder = write_annotations(tmp_path / "new", GRAPHS.truths, 100)
    assert [path.name for path in folder.iterdir()] == ["part-000000.npz"]
    assert list(tmp_path.iterdir()) == [folder]
