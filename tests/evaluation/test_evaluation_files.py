"""Prediction and per-image files are read back as they were written."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.evaluation import (
    PairAnswers,
    PerImageRecall,
    PredictedGraph,
    graph_from_entities,
    load_per_image,
    load_predictions,
)
from reldn_d2.evaluation.io.predictions import save_predictions
from reldn_d2.evaluation.io.results import save_per_image
from reldn_d2.structures import Vocabulary
from tests.builders.evaluation_scenes import NUM_PREDICATES, predicted_graph

LEAST = [
    *("format_version", "dataset_name", "task", "image_id", "entity_offsets", "boxes", "classes"),
    *("triplet_offsets", "subject", "object", "predicate", "score"),
]


def save(path: Path, predictions: dict[str, PredictedGraph]) -> None:
    save_predictions(path, predictions, dataset_name="toy", task="prdcls", num_predicates=NUM_PREDICATES)


def without_digest(file: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a file as an earlier release would have written them."""
    return {name: array for name, array in file.items() if name != "sha256"}


def test_predictions_survive(tmp_path: Path) -> None:
    pairs = PairAnswers(
        np.array([0], dtype=np.int32),
        np.array([1], dtype=np.int32),
        np.array([0.5], dtype=np.float32),
        np.array([[0.1, 0.2, 0.3]], dtype=np.float32),
    )
    rows = [(0, 1, 2, 0.75, 1), (1, 0, 1, 0.5, 1)]
    written = {
        "b": predicted_graph([(0, 0, 1, 1), (2, 2, 3, 4)], [1, 0], rows, pairs),
        "empty": PredictedGraph.empty(),
        "a": predicted_graph([(5, 5, 6, 6)], [1], []),
    }
    save(tmp_path / "p.npz", written)
    saved = load_predictions(tmp_path / "p.npz")
    assert (saved.dataset_name, saved.task, list(saved.predictions)) == ("toy", "prdcls", ["a", "b", "empty"])
    for name, graph in written.items():
        np.testing.assert_equal(dataclasses.asdict(saved.predictions[name]), dataclasses.asdict(graph))
    assert saved.predictions["b"].relations.subject.dtype == np.int32


def test_files_of_earlier_releases_have_the_task_in_upper_case(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    save(path, {"a": predicted_graph([(5, 5, 6, 6)], [1], [])})
    with np.load(path) as file:
        assert file["task"].tolist() == "prdcls"
        np.savez(path, **{**without_digest(file), "task": np.array("PRDCLS")})
    assert load_predictions(path).task == "prdcls"


def test_a_file_may_have_only_entities_and_triplets(tmp_path: Path) -> None:
    rows = [(0, 1, 2, 0.25, 2), (0, 1, 0, 0.75, 1), (1, 0, 1, 0.5, 1)]
    save(tmp_path / "p.npz", {"a": predicted_graph([(0, 0, 1, 1), (2, 2, 3, 4)], [1, 0], rows)})
    with np.load(tmp_path / "p.npz") as file:
        least = {name: file[name] for name in LEAST}
    np.savez(tmp_path / "p.npz", **least)
    graph = load_predictions(tmp_path / "p.npz").predictions["a"]
    assert graph.relations.score.tolist() == [0.75, 0.5, 0.25]
    assert graph.relations.rank_in_pair.tolist() == [1, 1, 2]
    assert graph.scores.tolist() == [1, 1] and not graph.has_repeats
    assert graph.pair_answers is None and graph.triplet_answers is None
    for name in LEAST:
        np.savez(tmp_path / "p.npz", **{key: array for key, array in least.items() if key != name})
        with pytest.raises(ValueError, match=r"p\.npz: .*(lacks the array|format version)"):
            load_predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", **least, predicate_probs=np.zeros((0, 3)))
    with pytest.raises(ValueError, match="has predicate_probs, but lacks the array 'has_annotated_pairs'"):
        load_predictions(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", **{**least, "score": np.array([0.5, np.nan, 0.25])})
    with pytest.raises(ValueError, match=r"p\.npz: image a: a score is not finite"):
        load_predictions(tmp_path / "p.npz")


def test_repeats_and_vocabulary_survive(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    one = np.array([0, 0])
    graph = graph_from_entities(np.zeros((2, 4)), one, one, one + 1, one, np.array([0.5, 0.25]))
    vocabulary = Vocabulary(["cat", "=dog"], ["on"])
    names = {"dataset_name": "toy", "task": "sgdet", "num_predicates": 1, "vocabulary": vocabulary}
    save_predictions(path, {"a": graph, "b": PredictedGraph.empty()}, **names)
    saved = load_predictions(path)
    assert saved.vocabulary == vocabulary
    assert [x.has_repeats for x in saved.predictions.values()] == [True, False]
    np.testing.assert_equal(dataclasses.asdict(saved.predictions["a"]), dataclasses.asdict(graph))
    save(path, {"a": PredictedGraph.empty()})
    assert load_predictions(path).vocabulary is None
    with np.load(path) as file:
        np.savez(path, **without_digest(file), class_names=np.array([1, 2]))
    with pytest.raises(ValueError, match="class_names and predicate_names must be text"):
        load_predictions(path)


def test_no_predictions_survive(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", {})
    assert load_predictions(tmp_path / "p.npz").predictions == {}


def test_per_image_counts_survive(tmp_path: Path) -> None:
    counts = PerImageRecall(("1", "2"), np.array([3, 0]), {"R@50": np.array([2, 0])})
    save_per_image(tmp_path / "i.json", {"motifs": counts}, dataset_name="toy", task="sgdet")
    loaded = load_per_image(tmp_path / "i.json")
    assert list(loaded) == ["motifs"] and loaded["motifs"].image_ids == ("1", "2")
    np.testing.assert_equal(dict(loaded["motifs"].hits), {"R@50": np.array([2, 0])})
    assert loaded["motifs"].ground_truths.tolist() == [3, 0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", {"a": predicted_graph([(5, 5, 6, 6)], [1], [])})
    whole = (tmp_path / "p.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.npz"):
        load_predictions(tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", boxes=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz: format version"):
        load_predictions(tmp_path / "other.npz")
    (tmp_path / "old.json").write_text('{"format_version": 0}')
    with pytest.raises(ValueError, match=r"old.json: format version 0"):
        load_per_image(tmp_path / "old.json")
    with pytest.raises(FileNotFoundError):
        load_predictions(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format_version", np.array([2, 2]), "format version"),
        ("format_version", np.array("abc"), "format version abc"),
        ("image_id", np.array("a"), "'image_id' must be text"),
        ("image_id", np.array([1]), "'image_id' must be text"),
        ("has_named_triplets", np.zeros(0, dtype=bool), "'has_named_triplets' must have shape"),
        ("triplet_offsets", np.array([0.0, 0.0]), "'triplet_offsets' must rise"),
        ("classes", np.array(0), "'classes' has shape"),
        ("boxes", np.array([[5, 5, 6, 6]]), "'boxes' must be float32 or float64 .*, not int64 .*or correct"),
        ("boxes", np.zeros((1, 4), dtype=np.float16), "'boxes' must be float32 or float64 .*, not float16"),
        ("boxes", np.zeros(1), r"'boxes' must be .* \(dimensions: 2\), not float64 \(dimensions: 1\)"),
        ("classes", np.array([1.0]), "'classes' must be integers .*, not float64"),
        ("has_named_triplets", np.array([1]), "'has_named_triplets' must be bool .*, not int64"),
    ],
)
def test_arrays_of_another_kind_are_refused_with_the_file(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    path = tmp_path / "p.npz"
    save(path, {"a": predicted_graph([(5, 5, 6, 6)], [1], [])})
    with np.load(path) as file:
        np.savez(path, **{**without_digest(file), name: value})
    with pytest.raises(ValueError, match=rf"p\.npz: .*{message}"):
        load_predictions(path)


def test_counts_of_images_that_make_no_sense_are_named(tmp_path: Path) -> None:
    path = tmp_path / "i.json"
    counts = PerImageRecall(("1", "2"), np.array([3, 0]), {"R@50": np.array([2, 0])})
    save_per_image(path, {"motifs": counts}, dataset_name="toy", task="sgdet")
    whole = path.read_text()
    for old, new, message in (
        (
            '"hits": {"R@50": [2, 0]}',
            '"hits": {"R@50": [4, 0]}',
            r"hits of 'R@50' in image '1' are 4, not in \[0, 3",
        ),
        ('"hits": {"R@50": [2, 0]}', '"hits": {"R@50": [NaN, 0]}', "hits of 'R@50' in image '1' are nan"),
        ('"hits": {"R@50": [2, 0]}', '"hits": {"R@50": [2]}', "'R@50' must be a list of 2 numbers"),
        ('"hits": {"R@50": [2, 0]}', '"hits": {"R@50": [2, "0"]}', "of image '2' must be a number"),
        ('["1", "2"]', '["1", "1"]', "image '1' is there twice"),
        ('["1", "2"]', '["1", 2]', "image_ids must be a list of texts"),
        ("[3, 0]", "[3, -1]", "not negative"),
        ('"hits"', '"hit"', "must have image_ids, ground_truths and hits"),
        ("[2, 0]", "[1, 0]", "changed or damaged after it was written"),
        ('"task": "sgdet", ', '"task": "sgdet", "task": "sgdet", ', "the key 'task' occurs twice"),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(ValueError, match=message) as error:
            load_per_image(path)
        assert str(path) in str(error.value)
    path.write_text(whole.replace("sha256", "other").replace("[2, 0]", "[1, 0]"))
    assert load_per_image(path)["motifs"].hits["R@50"].tolist() == [1, 0]
