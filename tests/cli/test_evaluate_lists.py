"""`reldn evaluate --predictions` with lists of scored triplets, and with small files of other programs."""

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.evaluation import RelationEvaluator, load_predictions
from reldn_d2.evaluation.io.results import RESULTS_FILE, TABLES_FILE
from reldn_d2.evaluation.scorer import PREDICTIONS_FILE
from tests.builders.commands import Captured, line_of_refusal, run_reldn, usage_error
from tests.builders.evaluation_scenes import predicted_graph
from tests.builders.registered_scenes import PREDICATES, RECORDS, TEST, A, B, C, register

CLASSES = ["cat", "dog"]
CORNERS = [f"{role}_{corner}" for role in ("subject", "object") for corner in ("x0", "y0", "x1", "y1")]
SGDET = ["image_id", "subject", *CORNERS[:4], "object", *CORNERS[4:], "predicate", "score"]
SGCLS = ["image_id", "subject_index", "subject", "object_index", "object", "predicate", "score"]
PRDCLS = ["image_id", "subject_index", "object_index", "predicate", "score"]
PROTOCOLS = {"sgdet": ("motifs", "reldn", "vrd2016", "reldn_openimages")}
RIGHT = ["1", "cat", *A, "dog", *B, "on", 0.5]


def write(path: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *lines])
    return path


def evaluated(folder: Path, task: str) -> Path:
    """Predictions of a model, saved and scored: random entities with random scores of all triplets."""
    random = np.random.default_rng(3)
    evaluator = RelationEvaluator(TEST, task, PROTOCOLS.get(task, ("motifs",)), output_dir=folder)
    for record in RECORDS:
        annotations = record["annotations"]
        boxes = np.array([x["bbox"] for x in annotations], dtype=np.float64).reshape(-1, 4)
        classes = [x["category_id"] for x in annotations]
        if task == "sgdet":
            boxes = boxes + random.uniform(0, 2, (len(boxes), 4))
        if task == "sgcls":
            classes = [*classes[:2], *(1 - i for i in classes[2:])]
        rows = []
        for s, o in [(s, o) for s in range(len(boxes)) for o in range(len(boxes)) if s != o]:
            scores = np.sort(random.random(3))[::-1]
            rows += [(s, o, p, scores[i], i + 1) for i, p in enumerate(random.permutation(3))]
        graph = predicted_graph(boxes, classes, sorted(rows, key=lambda row: -row[3]))
        evaluator.process([{"image_id": record["image_id"]}], [graph])
    evaluator.evaluate()
    return folder / PREDICTIONS_FILE


def list_of(path: Path) -> Path:
    """A list of the triplets of saved predictions, from the last image to the first, worst first."""
    saved = load_predictions(path)
    lines: list[list[object]] = []
    for image_id, graph in reversed(saved.predictions.items()):
        r = graph.relations
        columns = (x.tolist()[::-1] for x in (r.subject, r.object, r.predicate, r.score))
        for s, o, p, score in zip(*columns, strict=True):
            ends = [CLASSES[graph.classes[x]] for x in (s, o)]
            line: list[object] = [image_id, s, o]
            if saved.task == "sgdet":
                boxes = graph.boxes[[s, o]].tolist()
                line = [image_id, ends[0], *boxes[0], ends[1], *boxes[1]]
            elif saved.task == "sgcls":
                line = [image_id, s, ends[0], o, ends[1]]
            lines.append([*line, PREDICATES[p], score])
    columns = {"sgdet": SGDET, "sgcls": SGCLS, "prdcls": PRDCLS}[saved.task]
    return write(path.with_name("list.csv"), columns, lines)


def run(path: Path, *options: object) -> dict[tuple[str, str], float]:
    """(protocol, metric) -> value, from the file that the command writes."""
    output = path.parent / "scored"
    assert run_reldn("evaluate", f"--predictions={path}", f"--output={output}", *options) == 0
    with (output / RESULTS_FILE).open() as file:
        return {(x["protocol"], x["metric"]): float(x["value"] or "nan") for x in csv.DictReader(file)}


def refused(capsys: Captured, path: Path, *options: object) -> str:
    output = path.parent / "scored"
    return line_of_refusal(capsys, "evaluate", f"--predictions={path}", f"--output={output}", *options)


@pytest.mark.parametrize("task", ["sgdet", "sgcls", "prdcls"])
def test_a_list_of_predictions_scores_as_they_do(tmp_path: Path, task: str, capsys: Captured) -> None:
    path = evaluated(tmp_path, task)
    protocols = ("--protocol", *PROTOCOLS.get(task, ("motifs",)))
    expected = (tmp_path / RESULTS_FILE).read_bytes()
    assert 0 < run(list_of(path), "--dataset", TEST, "--task", task, *protocols)["motifs", "R@20"] <= 100
    assert (tmp_path / "scored" / RESULTS_FILE).read_bytes() == expected
    assert "WARNING" not in capsys.readouterr().out
    # Where an image has no triplet, it has no line; the last image has none here.
    assert "\n3," not in (tmp_path / "list.csv").read_text()
    # The same with the least that a prediction file may hold, in another order.
    run(least(path), *protocols)
    assert (tmp_path / "scored" / RESULTS_FILE).read_bytes() == expected


def least(path: Path) -> Path:
    """A file with only the arrays that must be there; the triplets of each image go from worst to best."""
    with np.load(path) as file:
        arrays = dict(file)
    ends = arrays["triplet_offsets"]
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in pairwise(ends)])
    columns = ("subject", "object", "predicate", "score")
    whole = ("format_version", "dataset_name", "task", "image_id", "entity_offsets", "boxes", "classes")
    kept = {name: arrays[name] for name in (*whole, "triplet_offsets")}
    np.savez(path.with_name("least.npz"), **kept, **{name: arrays[name][order] for name in columns})
    return path.with_name("least.npz")


def test_sgdet_and_the_usual_protocols_need_not_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", SGDET, [RIGHT])
    assert {protocol for protocol, _ in run(path, "--dataset", TEST)} == {"motifs", "reldn"}
    path = write(tmp_path / "list.csv", PRDCLS, [["1", 0, 1, "on", 0.5]])
    found = run(path, "--dataset", TEST, "--task", "prdcls")
    assert {protocol for protocol, _ in found} == {"motifs"} and found["motifs", "R@20"] == 25.0


def test_all_lines_count_in_the_challenge(tmp_path: Path) -> None:
    wrong = [["1", "cat", *A, "dog", *B[:2], 31 + i / 50, 10, "near", 0.9] for i in range(150)]
    path = write(tmp_path / "list.csv", SGDET, [*wrong, RIGHT])
    assert run(path, "--dataset", TEST, "--protocol", "openimages")["openimages", "AP_rel/on"] > 0


def test_what_changes_the_meaning_of_numbers_stands_in_the_results(tmp_path: Path, capsys: Captured) -> None:
    other = ["9", *RIGHT[1:]]
    path = write(tmp_path / "list.csv", SGDET, [RIGHT, RIGHT, other])
    run(path, "--dataset", TEST)
    tables = tmp_path / "scored" / TABLES_FILE
    notes = (
        "1 of 3 triplets are of 1 images that the data set does not have, and are left out.",
        "1 of 2 triplets repeat another one of their image, and count as well.",
    )
    printed = capsys.readouterr().out
    for note in notes:
        assert note in tables.read_text()
        assert sum("WARNING" in line and note in line for line in printed.splitlines()) == 1
    run(path, "--dataset", TEST, "--merge-repeats")
    assert "1 of 2 triplets repeat another one of their image, and are left out: only the best" in (
        tables.read_text()
    )


def test_repeats_in_a_file_without_ranks_count_and_are_named(tmp_path: Path) -> None:
    arrays = {
        **{"format_version": np.array(2), "dataset_name": np.array(TEST), "task": np.array("sgdet")},
        **{"image_id": np.array(["1", "2", "3"]), "entity_offsets": np.array([0, 3, 3, 3])},
        **{"boxes": np.array([A, B, C], dtype=float), "classes": np.array([0, 1, 1])},
        **{"triplet_offsets": np.array([0, 21, 21, 21]), "subject": np.zeros(21, dtype=int)},
        **{"object": np.array([2] * 20 + [1]), "predicate": np.zeros(21, dtype=int)},
        "score": np.linspace(1, 0.5, 21),
    }
    path = tmp_path / "p.npz"
    np.savez(path, **arrays)
    found = run(path, "--protocol", "motifs")
    # Twenty times the other dog, then the right one, which is one of two relationships of image 1.
    assert (found["motifs", "R@20"], found["motifs", "R@50"]) == (0.0, 25.0)
    assert "19 of 21 triplets repeat another one" in (tmp_path / "scored" / TABLES_FILE).read_text()


@pytest.mark.parametrize(
    ("task", "protocols"),
    [("prdcls", ("reldn", "motifs")), ("sgcls", ("reldn",)), ("sgdet", ("confusion",))],
)
def test_protocols_that_need_answers_are_refused(
    tmp_path: Path, capsys: Captured, task: str, protocols: tuple[str, ...]
) -> None:
    lines: dict[str, tuple[Sequence[str], list[object]]] = {
        "sgdet": (SGDET, RIGHT),
        "sgcls": (SGCLS, ["1", 0, "cat", 1, "dog", "on", 1]),
        "prdcls": (PRDCLS, ["1", 0, 1, "on", 1]),
    }
    path = write(tmp_path / "list.csv", lines[task][0], [lines[task][1]])
    message = refused(capsys, path, "--dataset", TEST, "--task", task, "--protocol", *protocols)
    assert message.startswith(f"{path}: in {task}, --protocol {protocols[0]} compares scores of given pairs")
    assert "Leave it out, or save the predictions with these scores as an .npz file" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "a list of triplets does not say which data set it is for: give --dataset"),
        (("--dataset", "no_such_set"), "no_such_set"),
        (("--dataset", TEST, "--task", "sgdet", "prdcls"), "a list of triplets is of one task"),
        (("--dataset", TEST, "--task", "prdcls"), "no column subject_index, object_index"),
        (("--dataset", TEST, "--task", "sgdett"), "unknown task 'sgdett'"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, capsys: Captured, options: tuple[object, ...], message: str
) -> None:
    assert message in refused(capsys, write(tmp_path / "list.csv", SGDET, [RIGHT]), *options)


def test_merging_is_for_lists_of_triplets(tmp_path: Path, capsys: Captured) -> None:
    path = evaluated(tmp_path, "sgdet")
    assert "--merge-repeats is for a list of triplets" in refused(capsys, path, "--merge-repeats")
    message = usage_error(capsys, "evaluate", "--weights", "w.pth", "--merge-repeats")
    assert message.startswith("--merge-repeats is for saved predictions")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1 / 40, "All 2 boxes end within 2 pixels of the left edge"),
        (4, "boxes stick out of their images by more than 10%"),
    ],
)
def test_boxes_in_other_units_are_named(tmp_path: Path, capsys: Captured, scale: float, message: str) -> None:
    boxes = [(np.array([*A, *B]) + i / 100) * scale for i in range(1 if scale < 1 else 20)]
    lines = [["1", "cat", *box[:4], "dog", *box[4:], "on", 0.5] for box in boxes]
    assert message in refused(capsys, write(tmp_path / "list.csv", SGDET, lines), "--dataset", TEST)


def test_boxes_that_may_be_pixels_of_smaller_pictures_are_a_warning(tmp_path: Path, capsys: Captured) -> None:
    register("twenty_images", [{**RECORDS[0], "image_id": str(i)} for i in range(20)])
    try:
        path = write(tmp_path / "list.csv", SGDET, [[str(i), *RIGHT[1:]] for i in range(20)])
        assert run(path, "--dataset", "twenty_images")["motifs", "R@20"] == 50.0
        assert f"{path}: No box of 20 images comes nearer to the lower right" in capsys.readouterr().out
    finally:
        DatasetCatalog.remove("twenty_images")
        MetadataCatalog.remove("twenty_images")


def test_compressed_lists_have_to_be_unpacked(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "list.csv.gz"
    path.write_bytes(b"\x1f\x8b")
    assert "unpack the file (gunzip -k" in refused(capsys, path, "--dataset", TEST)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"thing_classes": ["cat", "cow"]},
            "its 2 thing_classes are not the 2 of data set 'other_names': number 1 (from 0) is 'dog' in the "
            "file and 'cow' in the data set",
        ),
        (
            {"predicate_classes": [*PREDICATES, "under"]},
            "its 3 predicate_classes are not the 4 of data set 'other_names': number 3 (from 0) is missing "
            "in the file and 'under' in the data set",
        ),
    ],
)
def test_predictions_of_another_vocabulary_are_refused(
    tmp_path: Path, capsys: Captured, names: dict[str, Any], message: str
) -> None:
    path = evaluated(tmp_path, "sgdet")
    register("other_names", RECORDS)
    MetadataCatalog.remove("other_names")
    known = {"thing_classes": CLASSES, "predicate_classes": PREDICATES}
    MetadataCatalog.get("other_names").set(**{**known, **names})
    try:
        assert message in refused(capsys, path, "--dataset", "other_names")
    finally:
        DatasetCatalog.remove("other_names")
        MetadataCatalog.remove("other_names")
