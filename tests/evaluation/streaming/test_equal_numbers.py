"""Folders of files give the numbers of one file, bit for bit, whatever the files and processes are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.evaluation import DatasetScorer, evaluate_folders, reldn
from reldn_d2.evaluation.protocols.registry import PROTOCOLS
from tests.builders.many_graphs import (
    CLASSES,
    NAME,
    PREDICATES,
    PROTOCOLS_OF,
    ManyGraphs,
    dataset_dicts,
    many_graphs,
    write_annotations,
    write_predictions,
)

IMAGES, TRAINING = 60, "many_graphs_train"
NOTE = "Some images are drawn."
TRAINING_GRAPHS = many_graphs("sgdet", 6, seed=7)


@pytest.fixture(params=PROTOCOLS_OF)
def graphs(request: pytest.FixtureRequest) -> Iterator[ManyGraphs]:
    """Images of a task, which are a registered data set."""
    made = many_graphs(request.param, IMAGES)
    for name, truths in ((NAME, made.truths), (TRAINING, TRAINING_GRAPHS.truths)):
        DatasetCatalog.register(name, lambda truths=truths: dataset_dicts(truths))
        MetadataCatalog.get(name).set(thing_classes=CLASSES, predicate_classes=PREDICATES)
    yield made
    for name in (NAME, TRAINING):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def scored_at_once(graphs: ManyGraphs, output: Path, **options: object) -> tuple[dict, dict[str, bytes]]:
    """Results and their files, from all graphs in memory."""
    scorer = DatasetScorer(NAME, graphs.task, PROTOCOLS_OF[graphs.task], **options)
    prepared = {i: scorer.prepare(i, predicted) for i, predicted in graphs.predictions.items()}
    return scorer.score(prepared, output), contents(output)


@pytest.mark.parametrize(("truths_in_a_file", "predictions_in_a_file"), [(60, 60), (30, 11), (9, 7)])
def test_any_files(
    graphs: ManyGraphs, tmp_path: Path, truths_in_a_file: int, predictions_in_a_file: int
) -> None:
    expected = scored_at_once(graphs, tmp_path / "expected", confusion_subset=True, train_dataset=TRAINING)
    found = evaluate_folders(
        write_predictions(tmp_path / "predictions", graphs, predictions_in_a_file),
        write_annotations(tmp_path / "annotations", graphs.truths, truths_in_a_file),
        PROTOCOLS_OF[graphs.task],
        tmp_path / "found",
        train_annotations=write_annotations(tmp_path / "training", TRAINING_GRAPHS.truths, 4),
        confusion_subset=True,
    )
    assert (found, contents(tmp_path / "found")) == expected
    assert len(found) == 2 * len(PROTOCOLS_OF[graphs.task])
    assert f"{graphs.task}/motifs_confusable" in found and "zR@50" in found[f"{graphs.task}/motifs"]


def test_every_protocol_is_compared() -> None:
    assert set(PROTOCOLS_OF["sgdet"]) == set(PROTOCOLS)


@pytest.mark.parametrize("graphs", ["sgdet"], indirect=True)
def test_several_processes(graphs: ManyGraphs, tmp_path: Path) -> None:
    expected = scored_at_once(graphs, tmp_path / "expected")
    found = evaluate_folders(
        write_predictions(tmp_path / "predictions", graphs, 10),
        write_annotations(tmp_path / "annotations", graphs.truths, 9),
        PROTOCOLS_OF["sgdet"],
        tmp_path / "found",
        workers=2,
    )
    assert (found, contents(tmp_path / "found")) == expected


@pytest.mark.parametrize("graphs", ["sgdet"], indirect=True)
def test_missing_predictions_count_as_empty(graphs: ManyGraphs, tmp_path: Path) -> None:
    ids = list(graphs.predictions)
    missing = [*ids[:10], *ids[20:40:2], *ids[-3:]]  # also all of a file of annotations
    others = {i: x for i, x in graphs.predictions.items() if i not in missing}
    expected = scored_at_once(
        ManyGraphs("sgdet", graphs.truths, others), tmp_path / "expected", allow_missing=True
    )
    found = evaluate_folders(
        write_predictions(tmp_path / "predictions", graphs, 13, without=missing),
        write_annotations(tmp_path / "annotations", graphs.truths, 9),
        PROTOCOLS_OF["sgdet"],
        tmp_path / "found",
        allow_missing=True,
    )
    assert (found, contents(tmp_path / "found")) == expected


@pytest.mark.parametrize("graphs", ["prdcls"], indirect=True)
def test_settings_of_protocols(graphs: ManyGraphs, tmp_path: Path) -> None:
    folders = (
        write_predictions(tmp_path / "predictions", graphs, 10),
        write_annotations(tmp_path / "annotations", graphs.truths, 9),
    )
    found = evaluate_folders(*folders, [reldn((2, 3))], tmp_path / "found")
    assert {name.split("_")[1] for name in found["prdcls/reldn"] if name.startswith("rel_")} == {"k2", "k3"}
