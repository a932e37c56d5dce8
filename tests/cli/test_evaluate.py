"""`reldn evaluate --predictions`: the evaluator's numbers from files, and one clear line about errors."""

import csv
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from reldn_d2.evaluation import (
    PredictedGraph,
    RankedTriplets,
    RelationEvaluator,
    load_predictions,
    save_predictions,
)
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.io.results import (
    PER_IMAGE_FILE,
    PREDICATE_TABLES_FILE,
    PREDICATES_FILE,
    RESULTS_FILE,
    TABLES_FILE,
)
from reldn_d2.evaluation.io.submission import COLUMNS
from reldn_d2.evaluation.protocols.confusion import confusion_triplets
from reldn_d2.evaluation.scorer import PREDICTIONS_FILE
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.registered_scenes import RECORDS, TEST, TRAIN, A, B, register

RESULT_FILES = (TABLES_FILE, RESULTS_FILE, PREDICATE_TABLES_FILE, PREDICATES_FILE, PER_IMAGE_FILE)
OTHER = "evaluate_other"


@pytest.fixture
def other_data_set() -> Iterator[str]:
    """The test data again, under another name and with a training split."""
    register(OTHER, RECORDS, train_dataset=TRAIN)
    yield OTHER
    DatasetCatalog.remove(OTHER)
    MetadataCatalog.remove(OTHER)


def outputs(seed: int, task: str) -> list[dict[str, Instances]]:
    """Outputs of a model: the annotated entities, with random scores of all pairs and predicates."""
    random = torch.Generator().manual_seed(seed)
    results = []
    for record, truth in zip(RECORDS, ground_truth_graphs(RECORDS, 2, 3).values(), strict=True):
        entities, triplets, pairs, named = (Instances((40, 40)) for _ in range(4))
        entities.pred_boxes = Boxes(torch.tensor(truth.boxes, dtype=torch.float32).reshape(-1, 4))
        entities.pred_classes, entities.scores = torch.tensor(truth.classes), torch.ones(len(truth.classes))
        ends = [(s, o) for s in range(len(entities)) for o in range(len(entities)) if s != o]
        probs = torch.rand(len(ends), 3, generator=random)
        triplets.subject_index, triplets.object_index = (
            torch.tensor(ends, dtype=torch.long).reshape(-1, 2).repeat_interleave(3, 0).T
        )
        triplets.pred_predicates = torch.arange(3).repeat(len(ends))
        triplets.scores = probs.flatten()
        triplets.rank_in_pair = 3 - probs.argsort(dim=1).argsort(dim=1).flatten()
        results.append({"instances": entities, "relations": triplets, "triplet_answers": named})
        asked = torch.tensor(confusion_triplets(truth))
        named.subject_index, named.object_index, named.pred_predicates = asked.T
        named.scores = torch.rand(len(asked), generator=random)
        named.detected = torch.ones(len(asked), dtype=torch.bool)
        if task != "sgdet":
            relations = torch.tensor(record["relations"])
            pairs.subject_index, pairs.object_index = relations[:, :2].T
            pairs.pair_scores = torch.rand(len(relations), generator=random)
            pairs.predicate_probs = torch.rand(len(relations), 3, generator=random)
            results[-1]["pair_answers"] = pairs
    return results


def evaluated(folder: Path, task: str, protocols: tuple = (), **settings: Any) -> Path:
    """Folder of an evaluation by the evaluator."""
    protocols = protocols or ("motifs", "reldn", "confusion")
    evaluator = RelationEvaluator(TEST, task, protocols, output_dir=folder, **settings)
    evaluator.process([{"image_id": record["image_id"]} for record in RECORDS], outputs(5, task))
    evaluator.evaluate()
    return folder


def graph(
    *rows: tuple[int, int, int, float, int], boxes: tuple = (A, B), classes: tuple = (0, 1)
) -> PredictedGraph:
    """A prediction of `rows` (subject, object, predicate, score, rank in pair)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    subject, object, predicate, rank = table[:, [0, 1, 2, 4]].T.astype(np.int32)
    return PredictedGraph(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(classes, dtype=np.int32),
        np.ones(len(classes), dtype=np.float32),
        RankedTriplets(subject, object, predicate, table[:, 3].astype(np.float32), rank),
    )


GOOD = {"1": graph((0, 1, 0, 0.9, 1)), "2": graph((0, 1, 0, 0.8, 1)), "3": PredictedGraph.empty()}


def saved(folder: Path, predictions: dict[str, PredictedGraph] | None = None, task: str = "sgdet") -> Path:
    path = folder / "p.npz"
    predictions = GOOD if predictions is None else predictions
    save_predictions(path, predictions, dataset_name=TEST, task=task, num_predicates=3)
    return path


def words_for(predictions: Path, *options: object) -> list[object]:
    """The words of a command that writes to the folder `scored` beside the predictions."""
    output = predictions.parent / "scored"
    return ["evaluate", f"--predictions={predictions}", f"--output={output}", *options]


def run(predictions: Path, *options: object) -> dict[tuple[str, str], float]:
    """(protocol, metric) -> value, from the file that the command writes."""
    output = predictions.parent / "scored"
    assert run_reldn(*words_for(predictions, *options)) == 0
    with (output / RESULTS_FILE).open() as file:
        return {(row["protocol"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}


def refused(capsys: Captured, predictions: Path, *options: object) -> str:
    return line_of_refusal(capsys, *words_for(predictions, *options))


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_numbers_and_files_are_those_of_the_evaluator(tmp_path: Path, task: str) -> None:
    folder = evaluated(tmp_path / "evaluator", task, confusion_subset=True)
    run(folder / PREDICTIONS_FILE, "--protocol", "motifs", "reldn", "confusion", "--confusion-subset")
    for name in RESULT_FILES:
        assert (folder / "scored" / name).read_bytes() == (folder / name).read_bytes()
    assert "motifs_confusable" in (folder / TABLES_FILE).read_text()


def test_results_stand_in_a_folder_beside_the_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    assert run_reldn("evaluate", "--predictions", path) == 0
    assert path.read_bytes() == before
    assert {child.name for child in tmp_path.iterdir()} == {"p.npz", "p_scored"}
    assert {child.name for child in (tmp_path / "p_scored").iterdir()} == {*RESULT_FILES}
    assert capsys.readouterr().out.endswith(f"\nResults in {tmp_path / 'p_scored'}\n")


def test_the_protocols_are_motifs_and_reldn_unless_others_are_named(tmp_path: Path) -> None:
    path = evaluated(tmp_path, "prdcls") / PREDICTIONS_FILE
    assert {protocol for protocol, _ in run(path)} == {"motifs", "reldn"}
    assert {protocol for protocol, _ in run(path, "--protocol", "confusion")} == {"confusion"}


def test_settings_of_protocols(tmp_path: Path) -> None:
    settings = ("--predicates-per-pair", 1, 3, "--excluded-predicates", "by")
    metrics = run(saved(tmp_path), "--protocol", "reldn", "openimages", "reldn_openimages", *settings)
    ks = {
        metric.split("_")[1] for protocol, metric in metrics if protocol == "reldn" and metric[:4] == "rel_"
    }
    assert ks == {"k1", "k3"}
    for protocol in ("openimages", "reldn_openimages"):
        assert (protocol, "mAP_rel_starred") in metrics
    assert ("openimages", "mAP_rel_starred") not in run(saved(tmp_path), "--protocol", "openimages")


def test_zero_shot_recall_needs_a_training_split(tmp_path: Path, other_data_set: str) -> None:
    path = saved(tmp_path)
    assert ("motifs", "zR@50") not in run(path)
    # Unseen in training are "cat by dog" of image 1 and "dog on cat" of image 2, which nothing finds.
    assert run(path, "--train-dataset", TRAIN)["motifs", "zR@50"] == 0.0
    assert run(path, "--dataset", other_data_set)["motifs", "zR@50"] == 0.0
    # The training split is the data set itself, so nothing is unseen.
    assert ("motifs", "zR@50") not in run(path, "--dataset", other_data_set, "--train-dataset", TEST)


def test_another_data_set_than_predictions_were_made_for_is_a_warning(
    tmp_path: Path, other_data_set: str, capsys: Captured
) -> None:
    path = saved(tmp_path)
    metrics = run(path, "--dataset", TEST)
    assert "was made for" not in capsys.readouterr().out
    again = run(path, "--dataset", other_data_set)
    said = f"{path} was made for {TEST} and is scored on {other_data_set}"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if said in line]
    assert "WARNING" in line
    assert {key: again[key] for key in metrics} == metrics


def test_the_task_of_the_file_may_be_repeated(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert run(path, "--task", "sgdet") == run(path)


def test_missing_images_may_be_allowed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"1": GOOD["1"]})
    # Image 1 has one of two relationships, image 2 none of two.
    assert run(path, "--allow-missing")["motifs", "R@50"] == 25.0


SUBMISSION = ",".join(COLUMNS)
# A cat and a dog in image 1, in the columns XMin1,XMax1,YMin1,YMax1,XMin2,...
CAT_DOG = "1,cat,dog,0,0.25,0,0.25,0.5,0.75,0,0.25"


def submission(folder: Path, *lines: str) -> Path:
    path = folder / "s.csv"
    path.write_text("\n".join([SUBMISSION, *lines]) + "\n")
    return path


@pytest.mark.parametrize("options", [(), ("--kaggle",)])
def test_a_submission_of_predictions_scores_as_they_do(
    tmp_path: Path, options: tuple[str, ...], capsys: Captured
) -> None:
    path = evaluated(tmp_path, "sgdet") / PREDICTIONS_FILE
    written = tmp_path / "submission.csv"
    asked = ["evaluate", "--predictions", path, "--submission", written, *options]
    assert run_reldn(*asked) == 0
    message = usage_error(capsys, *asked, "--output", tmp_path)
    assert message == "--output is for scores, and --submission writes none"
    metrics = run(written, "--dataset", TEST)
    assert metrics == run(path, "--protocol", "openimages")
    assert {protocol for protocol, _ in metrics} == {"openimages"}
    assert 0 < metrics["openimages", "mAP_rel"] < 100
    assert ("PredictionString" in written.read_text()) == bool(options)


def test_all_rows_of_a_submission_count(tmp_path: Path) -> None:
    # 150 wrong rows with a different pair each, then the third predicate of the right pair.
    wrong = [f"1,cat,dog,0,0.25,0,0.25,{i / 1000},0.99,0.9,1,on,{0.9 - i / 1000}" for i in range(150)]
    right = [f"{CAT_DOG},{name},{score}" for name, score in (("near", 0.3), ("on", 0.2), ("by", 0.1))]
    metrics = run(submission(tmp_path, *wrong, *right), "--dataset", TEST)
    # "on" is annotated three times, and the row after 150 wrong ones finds one of these. "by" occurs once.
    assert metrics["openimages", "AP_rel/on"] == pytest.approx(100 / 3 / 151)
    assert metrics["openimages", "AP_rel/by"] == 100.0


def test_boxes_of_a_submission_may_stick_out(tmp_path: Path, capsys: Captured) -> None:
    far = [f"2,cat,dog,-0.{i},1.5,0,0.25,0.5,1.4,0,0.25,on,0.1" for i in range(10, 40)]
    metrics = run(submission(tmp_path, f"{CAT_DOG},by,0.5", *far), "--dataset", TEST)
    assert metrics["openimages", "AP_rel/by"] == 100.0
    assert "30 rows have a box that leaves the image" in capsys.readouterr().out
    # divided twice
    tiny = [f"{image},cat,dog,0,0.004,0,0.25,0,0.005,0,0.25,on,0.1" for image in (1, 2)]
    message = refused(capsys, submission(tmp_path, *tiny), "--dataset", TEST)
    assert "shares of the width, not pixels. Divide pixels by width and height only once" in message


def test_image_labels_make_predictions_of_absent_classes_wrong(tmp_path: Path) -> None:
    # Image 3 has no relationship. Unless somebody verified its classes, a prediction there does not count.
    line = CAT_DOG.replace("1,cat", "3,cat", 1)
    path = submission(tmp_path, f"{line},by,0.9", f"{CAT_DOG},by,0.5")
    labels = tmp_path / "labels.csv"
    labels.write_text("ImageID,LabelName,Confidence\n3,cat,1\n3,dog,0\n")
    assert run(path, "--dataset", TEST)["openimages", "AP_rel/by"] == 100.0
    labelled = run(path, "--dataset", TEST, "--image-labels", labels)
    assert labelled["openimages", "AP_rel/by"] == 50.0


def test_a_module_or_a_file_registers_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("as_module", "as_file"):
        source = "from tests.builders.registered_scenes import RECORDS, register\n"
        source += f"register('{name}_scenes', RECORDS)\n"
        (tmp_path / f"evaluate_{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = saved(tmp_path)
    imports = ("--import", "evaluate_as_module", "--import", tmp_path / "evaluate_as_file.py")
    assert run(path, *imports, "--dataset", "as_module_scenes") == run(path, "--dataset", "as_file_scenes")


def altered(path: Path, **arrays: Any) -> Path:
    """The file with other arrays, as an earlier release would have written them: without digest."""
    with np.load(path) as file:
        kept = {name: array for name, array in file.items() if name != "sha256"}
    np.savez(path, **{**kept, **arrays})
    return path


def test_predictions_that_can_not_be_scored(tmp_path: Path, capsys: Captured) -> None:
    nan = dataclasses.replace(GOOD["2"], relations=graph((0, 1, 0, float("nan"), 1)).relations)
    for predictions, message in (
        ({**GOOD, "2": nan}, "image 2: relationship scores hold a number that is not finite"),
        ({**GOOD, "9": GOOD["1"]}, f"image 9: data set '{TEST}' has no image with this image_id"),
        ({"1": GOOD["1"]}, "no prediction for 2 of 3 images: image 2, 3; with --allow-missing"),
        ({**GOOD, "1": graph(classes=(0, 2))}, r"image 1, prediction: class must be in \[0, 2\)"),
        ({**GOOD, "1": graph((0, 1, 3, 0.9, 1))}, r"image 1: pred_predicates must be in \[0, 3\)"),
        ({**GOOD, "2": graph((0, 2, 0, 0.9, 1))}, "image 2: object_index"),
        ({**GOOD, "1": graph(boxes=(B, A[::-1]))}, "image 1, prediction: boxes must be"),
    ):
        path = saved(tmp_path, predictions)
        assert re.search(f"^{path}.*{message}", refused(capsys, path))
        assert not (tmp_path / "scored").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x / 40, "All 4 boxes end within 2 pixels of the left edge .* shares of the width"),
        (
            lambda x: x * [1, 0.025, 1, 0.025],
            "All 4 boxes end within 2 pixels of the top edge .* shares of the height",
        ),
        (lambda x: np.tile(x * 10, (4, 1)), "16 of 16 boxes stick out of their images .* in image 1"),
    ],
)
def test_boxes_in_other_units_are_named(
    tmp_path: Path, capsys: Captured, change: Callable[[Any], Any], message: str
) -> None:
    boxes = change(np.array([A, B]))
    found = graph((0, 1, 0, 0.9, 1), boxes=boxes, classes=(0, 1) * (len(boxes) // 2))
    path = saved(tmp_path, {"1": found, "2": found, "3": PredictedGraph.empty()})
    assert re.search(f"^{path}: {message}", refused(capsys, path))


@pytest.mark.parametrize("kind", ["scores", "submission", "scores of a submission"])
def test_the_data_set_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path, file = saved(tmp_path), tmp_path / "s.csv"
    if kind == "scores of a submission":
        assert run_reldn("evaluate", "--predictions", path, "--submission", file) == 0
    loaded, load = [], DatasetCatalog.get
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: loaded.append(name) or load(name))
    options = {
        "scores": ("--predictions", path),
        "submission": ("--predictions", path, "--submission", file),
        "scores of a submission": ("--predictions", file, "--dataset", TEST, "--protocol", "openimages"),
    }
    assert run_reldn("evaluate", *options[kind]) == 0
    assert loaded.count(TEST) == 1


def test_files_that_are_no_predictions(tmp_path: Path, capsys: Captured) -> None:
    for arrays, message in (
        ({"format_version": np.array(1)}, "format version 1, not 2; run the evaluation again"),
        ({"image_id": np.array(["1", "1", "3"])}, "image 1 is in the file twice"),
    ):
        assert re.search(f"p.npz: {message}", refused(capsys, altered(saved(tmp_path), **arrays)))
    other = tmp_path / "other.npz"
    for content in ("", "text"):
        other.write_text(content)
        assert re.search(r"other\.npz: not a complete prediction file", refused(capsys, other))
    for path in (tmp_path / "none.npz", tmp_path):
        assert re.search(f"--predictions: no file {path}", refused(capsys, path))


def test_submissions_that_can_not_be_scored(tmp_path: Path, capsys: Captured) -> None:
    for lines, message in (
        ([CAT_DOG.replace("1,", "9,", 1) + ",on,0.5"], "line 2, image 9"),
        ([f"{CAT_DOG},on,0.5", f"{CAT_DOG},on,nan"], "line 3, image 1"),
    ):
        path = submission(tmp_path, *lines)
        assert re.search(f"^{path}: {message}", refused(capsys, path, "--dataset", TEST))
    path = submission(tmp_path)
    assert re.search("give --dataset", refused(capsys, path))
    message = refused(capsys, path, "--dataset", TEST, "--task", "prdcls")
    assert re.search(r"--task prdcls: .* holds predictions of sgdet", message)
    message = refused(capsys, path, "--dataset", TEST, "--protocol", "confusion")
    assert "lacks 'triplet_answers'" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "prdcls"), "--task prdcls: .* holds predictions of sgdet"),
        (("--task", "all"), "unknown task 'all'"),
        (
            ("--dataset", "nowhere"),
            "data set 'nowhere' is not registered: correct the name, or register it: --data",
        ),
        (("--train-dataset", "nowhere"), "'nowhere', the training split of .*, is not registered"),
        (
            ("--train-dataset", "reldn_scenes_tiny_train"),
            "'reldn_scenes_tiny_train' is not a training split of .*: its thing_classes",
        ),
        (
            ("--excluded-predicates", "by"),
            "--excluded-predicates is for --protocol openimages or reldn_openimages",
        ),
        (
            ("--protocol", "motifs", "--predicates-per-pair", "1"),
            "--predicates-per-pair is for --protocol reldn",
        ),
        (("--image-labels", "x.csv"), "--image-labels is for --protocol openimages"),
        (
            ("--protocol", "openimages", "--excluded-predicates", "at"),
            "excludes .*at.*, which the data set does not have",
        ),
        (("--predicates-per-pair", "2", "2"), "distinct and >= 1"),
        (("--protocol", "recall"), "recall"),
        (("--import", "no_such_module"), "--import no_such_module: No module named"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: Captured
) -> None:
    assert re.search(message, refused(capsys, saved(tmp_path), *options))


def test_tasks_that_do_not_fit(tmp_path: Path, capsys: Captured) -> None:
    path = evaluated(tmp_path, "prdcls") / PREDICTIONS_FILE
    message = refused(capsys, path, "--protocol", "openimages")
    assert "protocol openimages is for sgdet, not for prdcls" in message
    written = tmp_path / "s.csv"
    message = line_of_refusal(capsys, "evaluate", "--predictions", path, "--submission", written)
    assert re.search(r"--submission: .* sgdet, not of prdcls", message)
    assert not written.exists()


def test_files_that_options_name_must_be_there(tmp_path: Path, capsys: Captured) -> None:
    path = saved(tmp_path)
    for options in (("--import", "none.py"), ("--protocol", "openimages", "--image-labels", "none.csv")):
        assert re.search(f"none.{options[-1][-3:].strip('.')}", refused(capsys, path, *options))


def test_a_training_split_that_was_asked_for_must_be_readable(
    tmp_path: Path, other_data_set: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path, load = saved(tmp_path), DatasetCatalog.get

    def load_test_split(name: str) -> Any:
        if name == TRAIN:
            raise FileNotFoundError("train.json")
        return load(name)

    monkeypatch.setattr(DatasetCatalog, "get", load_test_split)
    assert ("motifs", "zR@50") not in run(path, "--dataset", other_data_set)
    assert re.search(r"train\.json", refused(capsys, path, "--train-dataset", TRAIN))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("p.npz", "--kaggle"), "--kaggle is a format of --submission FILE.csv"),
        (
            ("p.csv", "--submission", "s.csv"),
            "--submission is written from an .npz file, not from a .csv",
        ),
        (("p.npz", "--predicates-per-pair", "0"), "argument --predicates-per-pair: 0 is not at least 1"),
        (("p.npz", "--left-out", "by"), "there is no option --left-out"),
        (("p.npz", "--dataset", "a", "b"), "--predictions are scored on one --dataset"),
        (("p.npz", "--restart"), "--restart is for a model: leave it out with --predictions"),
        (("p.npz", "--skip-unreadable"), "--skip-unreadable is for a model: leave it out with --predictions"),
        (
            ("p.npz", "--weights", "x.pth"),
            "--predictions needs no model: leave out --weights, --config-file, --device, "
            "--precision and overrides",
        ),
        (
            ("p.npz", "MODEL.DEVICE", "cpu"),
            "--predictions needs no model: leave out --weights, --config-file, --device, "
            "--precision and overrides",
        ),
    ],
)
def test_command_lines_that_make_no_sense(capsys: Captured, options: tuple[str, ...], message: str) -> None:
    assert usage_error(capsys, "evaluate", "--predictions", *options) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a model (--weights), or saved predictions (--predictions)"),
        (
            ("--weights", "x", "--kaggle"),
            "--kaggle is for saved predictions: give --predictions, or leave it out",
        ),
        (
            ("--weights", "x", "--train-dataset", "y"),
            "--train-dataset is for saved predictions: give --predictions, or leave it out",
        ),
    ],
)
def test_options_of_saved_predictions_are_for_them(
    capsys: Captured, words: tuple[str, ...], message: str
) -> None:
    assert usage_error(capsys, "evaluate", *words) == message


def test_the_command_prints_tables_or_one_line_about_what_is_wrong(tmp_path: Path, capsys: Captured) -> None:
    path = saved(tmp_path)
    assert run_reldn("evaluate", "--predictions", path) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()[:2]
    assert first.endswith(f"sgdet on {TEST}, protocol motifs:") and second.startswith("|")
    assert "| R@K " in out
    assert err == ""
    message = line_of_refusal(capsys, "evaluate", "--predictions", path, "--task", "prdcls")
    assert message == f"--task prdcls: {path} holds predictions of sgdet"


def test_graphs_of_predict_can_not_be_scored(tmp_path: Path, capsys: Captured) -> None:
    graphs = tmp_path / "photo.json"
    graphs.write_text("{}")
    message = line_of_refusal(capsys, "evaluate", "--predictions", graphs)
    assert message.startswith(f"{graphs}: the graphs of `reldn predict` can't be scored")


def test_a_wrong_image_id_is_named_rather_than_the_image_it_stands_for(
    tmp_path: Path, capsys: Captured
) -> None:
    predictions = dict(load_predictions(saved(tmp_path)).predictions)
    predictions["zzz"] = predictions.pop("1")
    save_predictions(tmp_path / "wrong.npz", predictions, dataset_name=TEST, task="sgdet", num_predicates=3)
    assert re.search(r"wrong\.npz: image zzz", refused(capsys, tmp_path / "wrong.npz"))


def test_a_submission_without_a_triplet_is_noticed(tmp_path: Path, capsys: Captured) -> None:
    run(submission(tmp_path), "--dataset", TEST)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "holds no triplet" in line]
    assert "WARNING" in line
