"""Labelling and sampling of training pairs in plain loops, for tests and the benchmark."""

import random
from typing import NamedTuple

import torch
from torch import Tensor

from reldn_d2.structures import EntityBatch

Edge = tuple[int, int]


class Case(NamedTuple):
    entities: EntityBatch
    matched: Tensor
    relations: list[Tensor]
    num_ground_truth: list[int]
    num_predicates: int


def make_case(
    matched: list[list[int]],
    relations: list[list[tuple[int, int, int]]],
    num_ground_truth: list[int],
    num_predicates: int,
    boxes: Tensor | None = None,
) -> Case:
    counts = [len(rows) for rows in matched]
    total = sum(counts)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(total, 1) if boxes is None else boxes
    entities = EntityBatch(
        boxes=boxes,
        regions=boxes,
        classes=torch.zeros(total, dtype=torch.long),
        scores=torch.ones(total),
        image=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long)),
        image_sizes=torch.full((len(counts), 2), 100.0),
        frames=[(100, 100)] * len(counts),
        counts=counts,
    )
    return Case(
        entities,
        torch.tensor([row for rows in matched for row in rows], dtype=torch.long),
        [torch.tensor(rows, dtype=torch.long).reshape(-1, 3) for rows in relations],
        num_ground_truth,
        num_predicates,
    )


def overlap(a: list[float], b: list[float]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def slow_labels(case: Case, overlap_only: bool) -> tuple[dict[Edge, set[int]], set[Edge]]:
    """Labels of the related ordered pairs, and the unrelated pairs, of the whole batch."""
    related: dict[Edge, set[int]] = {}
    unrelated = set()
    image, matched, boxes = case.entities.image.tolist(), case.matched.tolist(), case.entities.boxes.tolist()
    known: list[dict[Edge, set[int]]] = [{} for _ in case.relations]
    for annotated, rows in zip(known, case.relations, strict=True):
        for subject, object, predicate in rows.tolist():
            annotated.setdefault((subject, object), set()).add(predicate)
    for a in range(len(image)):
        for b in range(len(image)):
            if image[a] != image[b] or matched[a] == matched[b]:
                continue
            if overlap_only and not overlap(boxes[a], boxes[b]):
                continue
            labels = known[image[a]].get((matched[a], matched[b]), set())
            if labels:
                related[a, b] = labels
            else:
                unrelated.add((a, b))
    return related, unrelated


def slow_draws(
    case: Case,
    batch_size_per_image: int = 512,
    positives_per_image: int = 128,
    anchors_per_image: int = 128,
    partners_per_anchor: int = 64,
) -> tuple[list[Edge], list[Edge], list[Edge]]:
    """Labels one image and draws pairs: for L0, for subjects as anchors, and for objects as anchors."""
    labels, others = slow_labels(case, overlap_only=False)
    related, unrelated = list(labels), list(others)
    positive = random.sample(related, min(positives_per_image, len(related)))
    free = min(batch_size_per_image - len(positive), len(unrelated))
    draws = [positive + random.sample(unrelated, free)]
    for end in (0, 1):
        anchors = list({pair[end] for pair in related})
        drawn = []
        for anchor in random.sample(anchors, min(anchors_per_image, len(anchors))):
            partners = [pair for pair in unrelated if pair[end] == anchor]
            drawn += [pair for pair in related if pair[end] == anchor]
            drawn += random.sample(partners, min(partners_per_anchor, len(partners)))
        draws.append(drawn)
    return draws[0], draws[1], draws[2]
