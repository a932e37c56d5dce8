"""sgdet of photos with 100 detections each: the exact early stop beside ranking every pair."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from detectron2.structures import Instances
from torch import Tensor

from reldn_d2.structures import enclosing_boxes

from .sgdet_model import Output, RelationStage, build, photos, r50_config, vrd_config
from .timing import Row, Skipped, Timer

_REGIONS = 64
_ROUNDING = 1e-5  # the last bits of a matrix product depend on the size of the chunk


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures two models: features of regions, the relation stage, and the whole model."""
    for name, cfg in (("R-50-FPN", r50_config()), ("EfficientNet-Lite0-FPN", vrd_config())):
        short_side = cfg.INPUT.MIN_SIZE_TEST
        model = build(cfg)
        stages = [RelationStage(model, detections) for detections in photos(short_side)[: timer.photos]]
        yield _regions_row(timer, f"{name}, features of {_REGIONS} regions", stages[0])
        what = f"{name} {short_side} px, sgdet of {len(stages)} photo(s)"
        yield _ranking_row(timer, f"{what}, relation stage", stages, RelationStage.run)
        yield _ranking_row(timer, f"{what}, end to end", stages, RelationStage.end_to_end)


def _ranking_row(
    timer: Timer, name: str, stages: list[RelationStage], run: Callable[[RelationStage, bool], Output]
) -> Row | Skipped:
    def all_photos(every_pair: bool) -> list[Output]:
        return [run(stage, every_pair) for stage in stages]

    exact, slow = partial(all_photos, False), partial(all_photos, True)
    return timer.measure(name, exact, slow=slow, slow_name="every pair", same=_same)


def _regions_row(timer: Timer, name: str, stage: RelationStage) -> Row | Skipped:
    boxes = stage.detections.pred_boxes.tensor[:_REGIONS]
    unions = enclosing_boxes(boxes, boxes.flip(0))

    def same(once: Tensor, twice: Tensor) -> None:
        torch.testing.assert_close(
            torch.cat([once, once]), twice, rtol=1e-4, atol=1e-5 * float(twice.abs().max())
        )

    return timer.measure(
        name,
        partial(stage.region_features, unions),
        slow=partial(stage.region_features, torch.cat([unions, unions])),
        slow_name="for each direction",
        same=same,
    )


def _same(exact: list[Output], slow: list[Output]) -> None:
    for ours, theirs in zip(exact, slow, strict=True):
        same_relations(ours[0]["relations"], theirs[0]["relations"])


def same_relations(ours: Instances, theirs: Instances) -> None:
    """Compares lists. Triplets whose scores differ only by rounding may change places."""
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=_ROUNDING, atol=0)
    last = float(theirs.scores[-1]) * (1 + _ROUNDING)
    assert _triplets(ours, last) == _triplets(theirs, last), "other triplets"


def _triplets(relations: Instances, above: float) -> set[tuple[int, ...]]:
    found = relations[relations.scores > above]
    columns = (found.subject_index, found.object_index, found.pred_predicates, found.rank_in_pair)
    return set(zip(*(column.tolist() for column in columns), strict=True))
