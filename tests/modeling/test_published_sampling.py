"""The training pairs of `SAMPLING.METHOD: published`, against its rules in loops and by small examples."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.modeling.relation_head.published_sampling import PublishedPairSampler
from reldn_d2.structures import EntityBatch, Pairs, PairTargets
from tests.references import published_sampling as slow
from tests.references.published_sampling import Box, Edge, Scene

UNLIMITED = {"batch_size_per_image": 10**6, "positives_per_image": 10**6, "anchors_per_image": 10**6}
CLASSES, PREDICATES = 5, 4


def batch_of(scenes: list[Scene]) -> EntityBatch:
    """The entities as `sampled_proposals` gives them. The classes of proposals are none of an annotation."""
    return EntityBatch.from_images(
        boxes=[torch.tensor(scene.boxes()).reshape(-1, 4) for scene in scenes],
        classes=[
            torch.tensor([CLASSES] * len(scene.proposals) + scene.classes, dtype=torch.long)
            for scene in scenes
        ],
        image_sizes=[(100, 100)] * len(scenes),
    )


def sample(scenes: list[Scene], **options: Any) -> tuple[EntityBatch, Pairs, PairTargets]:
    entities = batch_of(scenes)
    relations = [torch.tensor(scene.relations, dtype=torch.long).reshape(-1, 3) for scene in scenes]
    truths = [len(scene.annotated) for scene in scenes]
    unused = torch.zeros(len(entities), dtype=torch.long)
    return entities, *PublishedPairSampler(**options)(entities, unused, relations, truths)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Few coordinates, so that many boxes are equal, overlap enough, touch, or lie apart."""

    def box() -> Box:
        x, y = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        return float(x), float(y), float(x + draw(st.integers(1, 4))), float(y + draw(st.integers(1, 4)))

    annotated = [box() for _ in range(draw(st.integers(0, 4)))]
    proposals = [box() for _ in range(draw(st.integers(0, 5)))] + draw(
        st.lists(st.sampled_from(annotated), max_size=4) if annotated else st.just([])
    )
    rows = st.integers(0, max(len(annotated) - 1, 0))
    return Scene(
        draw(st.permutations(proposals)),
        annotated,
        draw(st.lists(st.integers(0, CLASSES - 1), min_size=len(annotated), max_size=len(annotated))),
        draw(st.lists(st.tuples(rows, rows, st.integers(0, PREDICATES - 1)), max_size=6 if annotated else 0)),
    )


# What a pair is: image, boxes of subject and object, predicate (None: unrelated), classes in their roles.
_Pair = tuple[int, Box, Box, int | None, int, int]


def described(entities: EntityBatch, pairs: Pairs, targets: PairTargets) -> list[_Pair]:
    subject_classes, object_classes = (classes.tolist() for classes in pairs.classes(entities))
    labels = dict(zip(targets.label_pair.tolist(), targets.label_predicate.tolist(), strict=True))
    assert len(labels) == len(targets.label_pair), "a pair has one label"
    boxes: list[Any] = [tuple(box) for box in entities.boxes.tolist()]
    rows = zip(pairs.subject.tolist(), pairs.object.tolist(), strict=True)
    found = []
    for row, (subject, object) in enumerate(rows):
        image = int(entities.image[subject])
        assert image == int(entities.image[object])
        assert bool(targets.related[row]) == (row in labels) != bool(targets.unrelated[row])
        classes = subject_classes[row], object_classes[row]
        found.append((image, boxes[subject], boxes[object], labels.get(row), *classes))
    return found


def expected(number: int, scene: Scene, pair: Edge) -> _Pair:
    boxes, classes = scene.boxes(), [CLASSES] * len(scene.proposals) + scene.classes
    roles = [
        slow.role_class(scene, row, role) if scene.relations else classes[row]
        for role, row in enumerate(pair)
    ]
    return number, boxes[pair[0]], boxes[pair[1]], slow.label(scene, pair), roles[0], roles[1]


@settings(max_examples=80)
@given(st.lists(scenes(), min_size=1, max_size=3), st.booleans(), st.sampled_from([1, 40, 2**24]))
def test_candidates_labels_and_classes(data: list[Scene], overlap_only: bool, at_once: int) -> None:
    """Without limits everything is drawn. Pairs of equal boxes in equal roles may change places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reldn_d2.modeling.relation_head.published_sampling._NUMBERS_AT_ONCE", at_once)
        entities, pairs, targets = sample(data, **UNLIMITED, overlap_only=overlap_only)
    wanted = [
        expected(number, scene, pair)
        for number, scene in enumerate(data)
        for pair in slow.candidates(scene, overlap_only)
    ]
    found = described(entities, pairs, targets)
    # Rows of images without relationships keep their own classes, which differ for equal boxes.
    with_relations = [bool(data[pair[0]].relations) for pair in wanted]
    assert Counter(p[:4] for p in found) == Counter(p[:4] for p in wanted)
    assert Counter(p for p in found if data[p[0]].relations) == Counter(
        itertools.compress(wanted, with_relations)
    )
    for mask in (targets.in_cross_entropy, targets.subject_side, targets.object_side):
        assert mask.all()


@settings(max_examples=50)
@given(
    st.lists(scenes(), min_size=1, max_size=3),
    *(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.booleans()),
)
def test_numbers_of_drawn_pairs(
    data: list[Scene], positives: int, rest: int, anchors: int, overlap_only: bool
) -> None:
    entities, pairs, targets = sample(
        data,
        batch_size_per_image=positives + rest,
        positives_per_image=positives,
        anchors_per_image=anchors,
        overlap_only=overlap_only,
    )
    image = entities.image[pairs.subject]
    used = targets.in_cross_entropy | targets.subject_side | targets.object_side
    assert used.all(), "a pair that no loss draws is not computed"
    for number, scene in enumerate(data):
        available = slow.candidates(scene, overlap_only)
        labels = [slow.label(scene, pair) for pair in available]
        related = sum(label is not None for label in labels)
        matched = sum(
            label is None and all(slow.matches_role(scene, row, role) for role, row in enumerate(pair))
            for pair, label in zip(available, labels, strict=True)
        )
        drawn = (image == number) & targets.in_cross_entropy
        assert int((drawn & targets.related).sum()) == min(positives, related)
        free = positives + rest - min(positives, related)
        assert int((drawn & targets.unrelated).sum()) == min(free, len(available) - related)
        for side in (targets.subject_side, targets.object_side):
            drawn = (image == number) & side
            assert int((drawn & targets.related).sum()) == min(anchors, related)
            assert int((drawn & targets.unrelated).sum()) == min(anchors, len(available) - related)
            offset = sum(entities.counts[:number])
            chosen = (drawn & targets.unrelated).nonzero()[:, 0]
            ends = [(int(pairs.subject[row]) - offset, int(pairs.object[row]) - offset) for row in chosen]
            preferred = sum(all(slow.matches_role(scene, x, role) for role, x in enumerate(e)) for e in ends)
            assert preferred == min(anchors, matched), "matched pairs come first"


@settings(max_examples=25)
@given(st.lists(scenes(), min_size=1, max_size=3))
def test_unordered_pairs_are_shared_by_both_directions(data: list[Scene]) -> None:
    """Features of the enclosing box are computed once for both directions."""
    _, pairs, _ = sample(data, batch_size_per_image=9, positives_per_image=4, anchors_per_image=3)
    first, second = pairs.first[pairs.union], pairs.second[pairs.union]
    forward = (pairs.subject == first) & (pairs.object == second)
    assert (forward | ((pairs.subject == second) & (pairs.object == first))).all()
    assert sorted(set(pairs.union.tolist())) == list(range(len(pairs.first))), "each is used"


# Far from each other: two annotated boxes, and a proposal that overlaps neither.
A, B, C = (0.0, 0.0, 10.0, 10.0), (40.0, 40.0, 50.0, 50.0), (70.0, 70.0, 80.0, 80.0)
NEAR_B = (41.0, 40.0, 51.0, 50.0)


def rows_of(scene: Scene, **options: Any) -> dict[Edge, list[int | None]]:
    """The labels of the drawn pairs, by the first rows with their boxes."""
    entities, pairs, targets = sample([scene], **UNLIMITED, **options)
    boxes = scene.boxes()
    result: dict[Edge, list[int | None]] = {}
    for _, subject, object, label, *_ in described(entities, pairs, targets):
        result.setdefault((boxes.index(subject), boxes.index(object)), []).append(label)
    return result


def test_pairs_with_an_annotated_box_need_not_overlap() -> None:
    scene = Scene([A, B, C, NEAR_B], [A, B], [0, 1], [(0, 1, 2)])
    found = rows_of(scene, overlap_only=True)
    # (2, 3) and (3, 2) are two proposals proper that do not overlap.
    assert set(found) == set(itertools.permutations(range(4), 2)) - {(2, 3), (3, 2)}
    assert set(rows_of(scene)) == set(itertools.permutations(range(4), 2))
    assert found[0, 1] == [2, 2], "once as proposals, and once more as annotated pair"
    assert found[0, 3] == [2] and found[1, 0] == [None]


def test_an_annotated_pair_is_drawn_when_its_boxes_are_no_proposals() -> None:
    assert rows_of(Scene([], [A, B], [0, 1], [(0, 1, 2)]), overlap_only=True) == {(0, 1): [2]}
    assert rows_of(Scene([], [A, A], [0, 1], [(0, 1, 2)]), overlap_only=True) == {(0, 0): [2]}
    assert rows_of(Scene([], [A], [0], [(0, 0, 1)]), overlap_only=True) == {(0, 0): [1]}


def test_repeats_are_several_samples_of_the_cross_entropy() -> None:
    _, pairs, targets = sample([Scene([A, B], [A, B], [0, 1], [(0, 1, 2)])], **UNLIMITED)
    assert (pairs.subject.tolist(), pairs.object.tolist()) == ([0, 1, 0], [1, 0, 1])
    assert targets.label_pair.tolist() == [0, 2] and targets.label_predicate.tolist() == [2, 2]
    assert targets.in_cross_entropy.all()


def test_the_label_is_that_of_the_nearest_relationship_not_of_the_nearest_entities() -> None:
    """The nearest entity of the subject is in no relationship. The second nearest one is."""
    unrelated, related = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 8.0)
    proposal = (0.0, 0.0, 10.0, 9.5)
    assert slow.iou(proposal, unrelated) > slow.iou(proposal, related) > 0.5
    scene = Scene([proposal, B], [unrelated, related, B], [0, 1, 2], [(1, 2, 3)])
    assert rows_of(scene)[0, 1] == [3]


def test_the_weaker_end_decides_between_relationships() -> None:
    # The subject fits the first relationship perfectly, but the object barely; both fit the second one well.
    other = (0.0, 0.0, 10.0, 9.0)
    barely, well = (40.0, 40.0, 50.0, 47.0), (40.0, 40.0, 50.0, 49.0)
    scene = Scene([A, B], [A, other, barely, well], [0] * 4, [(0, 2, 1), (1, 3, 2)])
    assert rows_of(scene)[0, 1] == [2]


def test_only_the_first_predicate_of_two_boxes_is_learnt() -> None:
    relations = [(0, 1, 3), (0, 1, 0), (0, 1, 3)]
    assert rows_of(Scene([A, B], [A, B], [0, 1], relations))[0, 1] == [3, 3]
    # Also if the boxes are annotated twice, with other classes.
    twice = Scene([A, B], [A, B, A], [0, 1, 2], [(2, 1, 1), (0, 1, 3)])
    assert set(rows_of(twice)[0, 1]) == {1}


def test_two_boxes_of_the_same_annotated_entity_are_unrelated() -> None:
    found = rows_of(Scene([B, NEAR_B], [A, B], [0, 1], [(0, 1, 2)]))
    assert found[0, 1] == [None] and found[1, 0] == [None]


def test_classes_are_those_of_the_nearest_entity_in_the_role_even_far_away() -> None:
    # A is only a subject, and B only an object. C is the subject of a relationship with A, and overlaps none.
    scene = Scene([A, B, C], [A, B, C], [3, 4, 1], [(0, 1, 0), (2, 0, 1)])
    entities, pairs, _ = sample([scene], **UNLIMITED)
    ends = zip(pairs.subject.tolist(), pairs.object.tolist(), strict=True)
    of_roles = zip(*(classes.tolist() for classes in pairs.classes(entities)), strict=True)
    classes = dict(zip(ends, of_roles, strict=True))
    # As object, C is as far from B as from A: the first relationship counts. As subject, so is B.
    assert classes == {
        (0, 1): (3, 4),
        (1, 0): (3, 3),
        (0, 2): (3, 4),
        (2, 0): (1, 3),
        (1, 2): (3, 4),
        (2, 1): (1, 4),
    }


def test_matched_negatives_come_first_and_are_drawn_at_random() -> None:
    """Of six boxes, 0 and 1 match the subject, 2 and 3 the object, and 4 and 5 nothing."""
    moved = [(x + 1, y, z + 1, w) for x, y, z, w in (A, B)]
    scene = Scene([A, moved[0], B, moved[1], C, (60.0, 0.0, 70.0, 10.0)], [A, B], [0, 1], [(0, 1, 2)])
    matched = {(a, b) for a in (0, 1) for b in (2, 3)}  # all of them are related
    reverse = Scene(*scene[:3], [(0, 1, 2), (1, 0, 0)])
    assert {p for p, labels in rows_of(scene).items() if labels[0] is not None} == matched
    # Both entities are subject and object now, so the matched negatives are those inside the two groups.
    inside = {(0, 1), (1, 0), (2, 3), (3, 2)}

    def drawn_negatives(pairs: Pairs, targets: PairTargets, side: torch.Tensor) -> Counter[Edge]:
        rows = (side & targets.unrelated).nonzero()[:, 0]
        ends = torch.stack([pairs.subject[rows], pairs.object[rows]], dim=1) % len(reverse.boxes())
        return Counter((a, b) for a, b in ends.tolist())

    torch.manual_seed(0)
    options = {"batch_size_per_image": 0, "positives_per_image": 0, "anchors_per_image": 4}
    # One batch of many equal images is as many independent draws.
    _, pairs, targets = sample([reverse] * 400, **options)
    for number, side in ((400, targets.subject_side), (400, targets.object_side)):
        assert drawn_negatives(pairs, targets, side) == dict.fromkeys(inside, number)
    options["anchors_per_image"] = 2
    _, pairs, targets = sample([reverse] * 400, **options)
    for side in (targets.subject_side, targets.object_side):
        drawn = drawn_negatives(pairs, targets, side)
        assert set(drawn) == inside
        assert all(abs(count - 200) < 5 * 10 for count in drawn.values())  # five standard deviations


@pytest.mark.parametrize(
    "data",
    [
        [Scene([], [], [], [])],
        [Scene([], [], [], []), Scene([A, B], [A, B], [0, 1], [(0, 1, 0)])],
        [Scene([A, B], [A, B], [0, 1], []), Scene([], [], [], [])],
        [Scene([A], [A], [0], [])],
    ],
)
def test_images_with_little(data: list[Scene]) -> None:
    entities, pairs, targets = sample(data, overlap_only=True)
    wanted = sum(len(slow.candidates(scene, True)) for scene in data)
    assert len(pairs) == wanted == len(targets.related)
    assert int(targets.related.sum()) == 2 * sum(len(scene.relations) for scene in data)
    assert len(entities) == 0 or wanted == 0 or pairs.subject_classes is not None


def test_images_without_relationships_keep_the_classes_of_the_entities() -> None:
    entities, pairs, targets = sample([Scene([A, B], [A, B], [3, 1], [])], **UNLIMITED)
    assert not targets.related.any() and len(pairs) == 2
    assert pairs.classes(entities)[0].tolist() == [CLASSES] * 2


def test_the_batch_does_not_change_what_an_image_gives() -> None:
    data = [
        Scene([A, B, C], [A, B], [0, 1], [(0, 1, 2)]),
        Scene([B], [B, C, A, NEAR_B], [1, 2, 3, 4], [(0, 3, 0), (1, 2, 1), (3, 1, 2)]),
    ]
    together = described(*sample(data, **UNLIMITED, overlap_only=True))
    alone = [described(*sample([scene], **UNLIMITED, overlap_only=True)) for scene in data]
    assert [pair[1:] for pair in together] == [pair[1:] for found in alone for pair in found]


def test_the_annotated_boxes_are_expected_behind_the_proposals() -> None:
    entities = batch_of([Scene([A], [], [], [])])
    relations = [torch.zeros(0, 3, dtype=torch.long)]
    with pytest.raises(ValueError, match=r"\[1\] entities and \[2\] annotated boxes.*append them"):
        PublishedPairSampler()(entities, torch.zeros(1, dtype=torch.long), relations, [2])


@pytest.mark.parametrize("name", ["batch_size_per_image", "positives_per_image", "anchors_per_image"])
def test_wrong_options_are_refused_at_construction(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} of PublishedPairSampler is -1.*{name.upper()}"):
        PublishedPairSampler(**{name: -1})


def test_memory_is_bounded_by_the_pairs_of_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of all pairs and relationships at once would have 16 million numbers an image."""
    monkeypatch.setattr("reldn_d2.modeling.relation_head.published_sampling._NUMBERS_AT_ONCE", 2**20)
    sizes: list[int] = []
    right = torch.Tensor.max

    def counting(values: torch.Tensor, **options: Any) -> Any:
        sizes.append(values.numel())
        return right(values, **options)

    monkeypatch.setattr(torch.Tensor, "max", counting)
    g = torch.Generator().manual_seed(0)
    corners = (torch.rand(178, 2, generator=g) * 80).round().tolist()
    boxes = [(x, y, x + 15, y + 15) for x, y in corners]
    ends = torch.randint(0, 50, (500, 2), generator=g).tolist()
    scene = Scene(boxes[:128], boxes[128:], [0] * 50, [(s, o, 0) for s, o in ends])
    _, pairs, targets = sample([scene, scene], overlap_only=True)
    assert len(sizes) > 10 and max(sizes) <= 2**20 and sum(sizes) == 2 * 178 * 178 * 500
    assert int(targets.in_cross_entropy.sum()) == 2 * 2048 and len(pairs) <= 2 * (2048 + 4 * 128)
