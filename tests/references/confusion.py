"""Confusion metrics in plain loops over entities, from the definitions in docs/evaluation.md."""

from collections.abc import Collection, Mapping, Sequence

Triplet = tuple[int, int, int]  # subject, object, predicate
Box = Sequence[float]
Cases = dict[Triplet, set[Triplet]]  # relationship -> its wrong triplets
Scores = Mapping[Triplet, float | None]  # None: not detected
Outcome = tuple[float, float, float]  # right, confused, missed

MISSED: Outcome = (0.0, 0.0, 1.0)


def slow_cases(
    boxes: Sequence[Box], classes: Sequence[int], relations: Collection[Triplet]
) -> dict[str, Cases]:
    """The cases of an image, by kind."""
    entities = range(len(boxes))

    def one(a: int, b: int) -> bool:
        return a == b or (classes[a] == classes[b] and _iou(boxes[a], boxes[b]) >= 0.5)

    def is_wrong(candidate: Triplet) -> bool:
        s, o, p = candidate
        repeats = any(p == p2 and one(s, s2) and one(o, o2) for s2, o2, p2 in relations)
        return not one(s, o) and not repeats

    kinds: dict[str, Cases] = {"instance": {}, "proximity": {}}
    between_two = {(s, o, p) for s, o, p in relations if not one(s, o)}
    for s, o, p in between_two:
        instances = {(s, other, p) for other in entities if classes[other] == classes[o]}
        instances |= {(other, o, p) for other in entities if classes[other] == classes[s]}
        crossed = set()
        for s2, o2, p2 in between_two:
            have_common_end = any(one(a, b) for a in (s, o) for b in (s2, o2))
            if p2 == p and not have_common_end and _share_area(boxes[s], boxes[o], boxes[s2], boxes[o2]):
                crossed |= {(s, o2, p), (s2, o, p)}
        for kind, candidates in (("instance", instances), ("proximity", crossed)):
            wrong = {candidate for candidate in candidates if is_wrong(candidate)}
            if wrong:
                kinds[kind][s, o, p] = wrong
    return kinds


def slow_outcome(right: Triplet, wrong: Collection[Triplet], scores: Scores) -> Outcome:
    """The share of a case that is right, confused and missed."""
    score = scores[right]
    if score is None:
        return MISSED
    best_wrong = max(scores[triplet] or 0.0 for triplet in wrong)
    if score == best_wrong:
        return (0.5, 0.5, 0.0)
    return (1.0, 0.0, 0.0) if score > best_wrong else (0.0, 1.0, 0.0)


def slow_detected(
    boxes: Sequence[Box],
    classes: Sequence[int],
    found_boxes: Sequence[Box],
    found_classes: Sequence[int],
    triplet: Triplet,
) -> bool:
    """Whether two different detections found the subject and the object of a triplet."""
    detections = []
    for entity in triplet[:2]:
        fitting = [
            (_iou(boxes[entity], box), -row)
            for row, (box, label) in enumerate(zip(found_boxes, found_classes, strict=True))
            if label == classes[entity] and _iou(boxes[entity], box) >= 0.5
        ]
        detections.append(max(fitting)[1] if fitting else None)
    return None not in detections and detections[0] != detections[1]


def _iou(a: Box, b: Box) -> float:
    common = _area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    together = _area(a) + _area(b) - common
    return common / together if together else 0.0


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _share_area(a: Box, b: Box, c: Box, d: Box) -> bool:
    """Whether the box around a and b and the box around c and d share area."""
    low = [max(min(a[i], b[i]), min(c[i], d[i])) for i in (0, 1)]
    high = [min(max(a[i], b[i]), max(c[i], d[i])) for i in (2, 3)]
    return low[0] < high[0] and low[1] < high[1]
