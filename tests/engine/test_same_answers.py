"""A photo has one answer: by the predictor, by `reldn predict`, in a batch, and in an evaluation."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.engine import RelationPredictor, evaluate
from reldn_d2.evaluation import load_predictions
from reldn_d2.visualization import SceneGraph, build_scene_graph
from tests.builders.commands import run_reldn

SCENES = "reldn_scenes_tiny_test"
# The whole list of a graph, with all predicates of a pair.
TOP, PREDICATES = 100, 100
# Only relationships with a score of this are compared between batches: what is near the detector's threshold
# may come and go with the last digits.
SURE = 0.3


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Eight scenes of one size."""
    scenes = DatasetCatalog.get(SCENES)[:8]
    assert len({(scene["height"], scene["width"]) for scene in scenes}) == 1
    return [Path(scene["file_name"]) for scene in scenes]


def by_predictor(predictor: RelationPredictor, files: list[Path], batch_size: int) -> list[SceneGraph]:
    # A list is predicted in batches, a single image alone.
    predictions = map(predictor, files) if batch_size == 1 else predictor([*files], batch_size=batch_size)
    return [found.to_dict(top_k=TOP, predicates_per_pair=PREDICATES) for found in predictions]


def by_command(folder: Path, files: list[Path], batch_size: int) -> list[SceneGraph]:
    words = [
        *("--weights", "scenes-tiny", "--device", "cpu", "--output", folder, "--format", "json"),
        *("--top-k", TOP, "--predicates-per-pair", PREDICATES, "--score-threshold", 0),
    ]
    assert run_reldn("predict", "--input", *files, *words, "--batch-size", batch_size) == 0
    return [json.loads((folder / f"{file.stem}.json").read_text()) for file in files]


def by_evaluation(
    predictor: RelationPredictor, folder: Path, files: list[Path], batch_size: int
) -> list[SceneGraph]:
    cfg = predictor.parts.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST, cfg.TEST.IMS_PER_BATCH, cfg.OUTPUT_DIR = (SCENES,), batch_size, str(folder)
    evaluate(cfg)
    saved = load_predictions(folder / "inference" / SCENES / "sgdet" / "relation_predictions.npz").predictions
    scenes = {Path(scene["file_name"]): scene for scene in DatasetCatalog.get(SCENES)}
    graphs = []
    for file in files:
        found, scene = saved[str(scenes[file]["image_id"])], scenes[file]
        listed = found.relations
        predicates = [predictor.predicate_classes[index] for index in listed.predicate[:TOP]]
        graphs.append(
            build_scene_graph(
                {"file_name": file.name, "width": scene["width"], "height": scene["height"]},
                [predictor.thing_classes[index] for index in found.classes],
                found.boxes.tolist(),
                zip(listed.subject[:TOP].tolist(), listed.object[:TOP].tolist(), predicates, strict=True),
                entity_scores=found.scores.tolist(),
                relationship_scores=listed.score[:TOP].tolist(),
            )
        )
    return graphs


def without_predicate_scores(graphs: list[SceneGraph]) -> list[SceneGraph]:
    """An evaluation saves no scores of the predicates alone."""
    for graph in graphs:
        for relationship in graph["relationships"]:
            del relationship["predicate_score"]
    return graphs


def sure_numbers(graph: SceneGraph, lowest: float) -> Iterator[tuple[tuple[str, str, str], list[float]]]:
    """The names of each triplet, and its score and both boxes."""
    for found in graph["relationships"]:
        subject, target = graph["entities"][found["subject"]], graph["entities"][found["object"]]
        score = found["score"]
        assert score is not None
        if score >= lowest:
            names = (subject["class"], found["predicate"], target["class"])
            yield names, [score, *subject["box"], *target["box"]]


def assert_close(one: SceneGraph, other: SceneGraph) -> None:
    for these, those in ((one, other), (other, one)):
        found = list(sure_numbers(these, SURE))
        assert len(found) > 2
        for names, numbers in found:
            near = partial(np.allclose, numbers, rtol=1e-4, atol=1e-3)
            assert any(names == others and near(values) for others, values in sure_numbers(those, 0))


def test_all_ways_give_the_same_graphs(
    scenes_tiny: RelationPredictor, files: list[Path], tmp_path: Path
) -> None:
    alone = by_predictor(scenes_tiny, files, 1)
    assert by_command(tmp_path / "alone", files, 1) == alone
    batches = [by_predictor(scenes_tiny, files, 8), by_command(tmp_path / "batch", files, 8)]
    # A batch of the command is one of the predictor, and of the evaluation.
    assert batches[0] == batches[1]
    of_evaluation = [by_evaluation(scenes_tiny, tmp_path / f"{size}", files, size) for size in (1, 8)]
    assert of_evaluation[0] == without_predicate_scores(alone)
    assert of_evaluation[1] == without_predicate_scores(batches[0])
    for one, other in zip(alone, batches[0], strict=True):
        assert_close(one, other)
