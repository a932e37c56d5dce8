import math
from collections.abc import Sequence

from reldn_d2.data.synthetic import ConfusableCase, confusable_cases, make_scene, scene_dict
from reldn_d2.demo.cases import Scene, Triplet, chance, chosen_scenes, solved_counts
from reldn_d2.demo.models import BASELINE, FULL
from reldn_d2.demo.report import confusion_table
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.protocols.confusion import confusion_triplets

RIGHT, WRONG, OTHER = (0, 1, 5), (0, 2, 5), (0, 3, 5)


def scene(name: str, base: Sequence[bool], full: Sequence[bool], kind: str = "proximity") -> Scene:
    """A scene with a case for each flag; the flags say whether L0 and all losses solve it."""
    cases, scores = [], {BASELINE: dict[Triplet, float](), FULL: dict[Triplet, float]()}
    for row, solved in enumerate(zip(base, full, strict=True)):
        right, wrong = (row, 10, 5), (row, 11, 5)
        cases.append(ConfusableCase(kind, right, (wrong,)))
        for model, is_solved in zip((BASELINE, FULL), solved, strict=True):
            scores[model] |= {right: 0.9 if is_solved else 0.1, wrong: 0.5}
    return Scene({"file_name": f"scenes/{name}.png"}, cases, scores)


def test_the_choice_is_the_best_candidate() -> None:
    case = ConfusableCase("instance", RIGHT, (WRONG, OTHER))
    scores = {
        "good": {RIGHT: 0.6, WRONG: 0.3, OTHER: 0.5},
        "bad": {RIGHT: 0.6, WRONG: 0.3, OTHER: 0.7},
        "tie": {RIGHT: 0.6, WRONG: 0.6, OTHER: 0.1},
    }
    of_case = Scene({"file_name": "a.png"}, [case], scores)
    assert [of_case.choice(model, case) for model in scores] == [RIGHT, OTHER, WRONG]
    # A choice is right where a case counts as solved.
    assert [of_case.solved(model, "instance") for model in scores] == [1, 0, 0]


def test_the_evaluation_asks_about_every_candidate() -> None:
    """So the demo need not ask the models again."""
    scenes = [scene_dict(make_scene("test", index), "", index) for index in range(100)]
    cases = 0
    for record, truth in zip(scenes, ground_truth_graphs(scenes, 6, 7).values(), strict=True):
        asked = {*map(tuple, confusion_triplets(truth).tolist())}
        for case in confusable_cases(record):
            assert {case.relation, *case.wrong} <= asked
            cases += 1
    assert cases > 100


def test_counts_of_scenes() -> None:
    scenes = [scene("0", [True, False], [True, True]), scene("1", [], []), scene("2", [True], [False])]
    counts = solved_counts(scenes, FULL, "proximity")
    assert counts.image_ids == ("0", "1", "2")
    assert counts.ground_truths.tolist() == [2, 0, 1]
    assert counts.hits["solved"].tolist() == [2, 0, 0]
    assert [x.gain("proximity") for x in scenes] == [1, 0, -1]
    assert chance(scenes, "proximity") == 50


def test_the_more_frequent_change_is_chosen_first_then_the_opposite_one() -> None:
    same, worse, other_kind = (
        scene("same", [True], [True]),
        scene("worse", [True], [False]),
        scene("other kind", [False], [True], kind="instance"),
    )
    better, also_better = scene("better", [False], [True]), scene("also better", [False], [True])

    def names(scenes: Sequence[Scene], number: int) -> list[str]:
        return [x.name for x in chosen_scenes(scenes, "proximity", number)]

    scenes = [same, scene("no case", [], []), worse, other_kind, also_better, better]
    assert names(scenes, 1) == ["also better"]
    assert names(scenes, 9) == ["also better", "worse", "better", "same"]
    also_worse, third_worse = scene("also worse", [True], [False]), scene("third worse", [True], [False])
    assert names([better, worse, also_worse, third_worse], 9) == [
        "worse",
        "better",
        "also worse",
        "third worse",
    ]
    assert names([worse, better], 1) == ["better"]  # as many: the better one
    assert names([same, worse], 9) == ["worse", "same"]
    assert names([], 9) == []


def test_the_table_says_how_many_scenes_became_better_and_worse() -> None:
    scenes = [
        scene("0", [True, False], [True, True]),
        scene("1", [False], [True]),
        scene("2", [True], [False]),
        scene("3", [True], [True]),
    ]
    rows, notes = confusion_table(scenes, [BASELINE, FULL])
    assert rows == [
        {"model": BASELINE, "proximity": 60.0},
        {"model": FULL, "proximity": 80.0},
        {"model": "chance", "proximity": 50.0},
    ]
    (note,) = notes
    assert note.startswith("proximity, 5 cases in 4 scenes, L0+L1+L2+L3 minus L0: +20.0 points")
    assert "solves more cases in 2 scenes, and fewer in 1." in note


def test_kinds_without_a_case_are_left_out() -> None:
    rows, notes = confusion_table([scene("0", [], [])], [BASELINE, FULL])
    assert rows == [{"model": BASELINE}, {"model": FULL}, {"model": "chance"}]
    assert notes == []
    assert math.isnan(chance([], "proximity"))
