import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.scene_graphs import ground_truth_to_dict, scene_graph_to_dict, top_relationships, write_graphs
from reldn_d2.structures import Annotations

THINGS, PREDICATES = ["person", "shirt", "dog"], ["wears", "next to"]


def relations_of(rows: list[tuple[int, int, int, float, int]]) -> Instances:
    """Rows of (subject, object, predicate, score, rank in pair)."""
    relations = Instances((100, 200))
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    relations.subject_index, relations.object_index, relations.pred_predicates = table[:, :3].long().T
    relations.scores, relations.rank_in_pair = table[:, 3].float(), table[:, 4].long()
    return relations


def output_of(rows: list[tuple[int, int, int, float, int]]) -> dict[str, Instances]:
    entities = Instances((100, 200))
    entities.pred_boxes = Boxes(torch.tensor([[0.0, 0, 50, 100], [10, 20, 40, 60.5], [100, 50, 200, 100]]))
    entities.scores = torch.tensor([0.5, 0.25, 1.0])
    entities.pred_classes = torch.tensor([0, 1, 2])
    return {"instances": entities, "relations": relations_of(rows)}


@settings(max_examples=60)
@given(
    pairs=st.integers(0, 7),
    predicates=st.integers(1, 4),
    allowed=st.integers(1, 5),
    top_k=st.integers(1, 100),
    seed=st.integers(0, 1000),
)
def test_top_relationships_is_what_sorting_every_triplet_gives(
    pairs: int, predicates: int, allowed: int, top_k: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).permutation(pairs * predicates).reshape(pairs, predicates) / 64
    rows = []
    for pair in range(pairs):
        by_score = np.argsort(-scores[pair]).tolist()
        rows += [(pair, pair + 1, p, scores[pair, p], by_score.index(p) + 1) for p in range(predicates)]
    rows.sort(key=lambda row: -row[3])
    wanted = []
    for row in rows:
        better_in_pair = sum(other[0] == row[0] and other[3] > row[3] for other in rows)
        if better_in_pair < allowed and len(wanted) < top_k:
            wanted.append(row[:4])
    got = top_relationships(relations_of(rows), top_k=top_k, predicates_per_pair=allowed)
    fields = (got.subject_index, got.object_index, got.pred_predicates, got.scores)
    assert list(zip(*(field.tolist() for field in fields), strict=True)) == wanted


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"top_k": 101}, {"predicates_per_pair": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        top_relationships(relations_of([]), **wrong)


def test_graph_of_an_output() -> None:
    rows = [(0, 1, 0, 0.5, 1), (0, 1, 1, 0.375, 2), (2, 0, 1, 0.25, 1)]
    graph = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, file_name="a.jpg")
    assert graph == {
        "version": 1,
        "image": {"file_name": "a.jpg", "width": 200, "height": 100},
        "entities": [
            {"id": 0, "class": "person", "score": 0.5, "box": [0, 0, 50, 100]},
            {"id": 1, "class": "shirt", "score": 0.25, "box": [10, 20, 40, 60.5]},
            {"id": 2, "class": "dog", "score": 1.0, "box": [100, 50, 200, 100]},
        ],
        "relationships": [
            {"subject": 0, "object": 1, "predicate": "wears", "score": 0.5},
            {"subject": 2, "object": 0, "predicate": "next to", "score": 0.25},
        ],
    }


def test_the_threshold_keeps_scores_that_reach_it() -> None:
    rows = [(0, 1, 0, 0.5, 1), (2, 0, 1, 0.25, 1), (1, 2, 1, 0.125, 1)]
    graph = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, score_threshold=0.25)
    assert [relationship["score"] for relationship in graph["relationships"]] == [0.5, 0.25]


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predicate \[5\]"):
        scene_graph_to_dict(output_of([(0, 1, 5, 0.5, 1)]), THINGS, PREDICATES)
    with pytest.raises(ValueError, match=r"entity class \[2\]"):
        scene_graph_to_dict(output_of([]), THINGS[:2], PREDICATES)


def test_json_gives_the_same_graph_back(tmp_path: Path) -> None:
    rows = [(0, 1, 0, 0.1, 1), (2, 0, 1, 1 / 3, 1)]
    for graph in (
        scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, file_name="straße.jpg"),
        scene_graph_to_dict(output_of([]), THINGS, PREDICATES),
    ):
        path = tmp_path / "new folder" / "graph.json"
        write_graphs(graph, path)
        assert json.loads(path.read_text(encoding="utf-8")) == graph
        assert list(path.parent.iterdir()) == [path]


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    graph = scene_graph_to_dict(output_of([(0, 1, 0, 0.5, 1)]), THINGS, PREDICATES)
    graph["relationships"][0]["score"] = math.nan
    path = tmp_path / "graph.json"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"graph\.json.*NaN"):
        write_graphs(graph, path)
    assert path.read_text() == "old"


def test_ground_truth_converts_boxes_and_keeps_every_relationship() -> None:
    dataset_dict = {
        "file_name": "/data/images/b.jpg", "height": 100, "width": 200, "image_id": 1,
        "annotations": [
            {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0},
            {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 2},
        ],
        "relations": np.array([[1, 0, 1], [1, 0, 1], [0, 0, 0]]),
    }  # fmt: skip
    graph = ground_truth_to_dict(dataset_dict, THINGS, PREDICATES)
    assert graph["image"] == {"file_name": "b.jpg", "width": 200, "height": 100}
    assert [entity["box"] for entity in graph["entities"]] == [[10, 20, 40, 60], [1, 2, 3, 4]]
    ends = [(r["subject"], r["object"], r["predicate"]) for r in graph["relationships"]]
    assert ends == [(1, 0, "next to"), (1, 0, "next to"), (0, 0, "wears")]
    assert json.loads(json.dumps(graph)) == graph


def test_ground_truth_reads_packed_annotations() -> None:
    boxes, classes = np.array([[10.0, 20, 40, 60], [1, 2, 3, 4]]), np.array([0, 2])
    listed = {
        "file_name": "b.jpg", "height": 100, "width": 200, "image_id": 1, "relations": [(1, 0, 1)],
        "annotations": [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category}
            for box, category in zip(boxes.tolist(), classes.tolist(), strict=True)
        ],
    }  # fmt: skip
    packed = {**listed, "annotations": Annotations(boxes, classes)}
    assert ground_truth_to_dict(packed, THINGS, PREDICATES) == ground_truth_to_dict(
        listed, THINGS, PREDICATES
    )


def test_ground_truth_without_relations_is_refused() -> None:
    dataset_dict = {"file_name": "b.jpg", "height": 9, "width": 9, "image_id": 1, "annotations": []}
    with pytest.raises(ValueError, match=r"b\.jpg.*'relations'"):
        ground_truth_to_dict(dataset_dict, THINGS, PREDICATES)
    with pytest.raises(ValueError, match="row 0"):
        ground_truth_to_dict({**dataset_dict, "relations": [(0, 1, 0)]}, THINGS, PREDICATES)


def test_an_unknown_export_format_is_refused(tmp_path: Path) -> None:
    graph = scene_graph_to_dict(output_of([]), THINGS, PREDICATES)
    with pytest.raises(ValueError, match=r"graph\.xyz.*'xyz'.*json"):
        write_graphs(graph, tmp_path / "graph.xyz", file_format="xyz")
    assert list(tmp_path.iterdir()) == []


def test_entities_below_a_score_take_their_relationships_with_them() -> None:
    # Scores of the entities are 0.5, 0.25 and 1.
    rows = [(0, 2, 0, 0.5, 1), (0, 1, 0, 0.25, 1), (2, 0, 1, 0.25, 1), (1, 2, 1, 0.125, 1)]
    whole = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES)
    graph = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, entity_threshold=0.5)
    # A score that equals the threshold is kept; the dog has a new id.
    assert [(entity["id"], entity["class"]) for entity in graph["entities"]] == [(0, "person"), (1, "dog")]
    assert [entity["box"] for entity in graph["entities"]] == [whole["entities"][i]["box"] for i in (0, 2)]
    found = [(r["subject"], r["object"], r["predicate"], r["score"]) for r in graph["relationships"]]
    assert found == [(0, 1, "wears", 0.5), (1, 0, "next to", 0.25)]
    assert scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, entity_threshold=0.25) == whole
    alone = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, entity_threshold=1.0)
    assert [entity["class"] for entity in alone["entities"]] == ["dog"] and alone["relationships"] == []
    for name in ("entity_threshold", "score_threshold"):
        with pytest.raises(ValueError, match=rf"{name} is 1\.5: use 0 to 1"):
            scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, **{name: 1.5})


def test_relationships_of_dropped_entities_do_not_count_for_the_best() -> None:
    rows = [(0, 1, 0, 0.5, 1), (0, 2, 0, 0.25, 1)]
    graph = scene_graph_to_dict(output_of(rows), THINGS, PREDICATES, top_k=1, entity_threshold=0.5)
    assert [r["score"] for r in graph["relationships"]] == [0.25]
