"""The semantic and visual modules against slow formulas."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch.nn import functional as F

from reldn_d2.modeling.relation_head import SemanticModule, VisualModule
from reldn_d2.modeling.relation_head.entities import match_to_ground_truth, training_entities
from reldn_d2.structures import Pairs


def test_semantic_table_is_the_smoothed_log_frequency() -> None:
    counts = np.zeros((2, 2, 3), dtype=np.int64)
    counts[0, 1] = [6, 1, 2]
    module = SemanticModule(num_classes=2, num_predicates=2, eps=1e-3)
    module.set_counts(counts)
    logits = module(torch.tensor([0, 1]), torch.tensor([1, 1]))
    # With 1 added to the background column: 6, 1, 3 of 10. An unseen pair of classes is background alone.
    expected = torch.log(torch.tensor([[0.6, 0.1, 0.3], [0.0, 0.0, 1.0]]) + 1e-3)
    torch.testing.assert_close(logits, expected)
    assert not module.log_prior.requires_grad
    assert SemanticModule(num_classes=2, num_predicates=2, learnable=True).log_prior.requires_grad


@pytest.mark.parametrize(
    "counts",
    [np.zeros((2, 2, 2)), np.full((2, 2, 3), -1), np.full((2, 2, 3), -0.5), np.full((2, 2, 3), np.nan)],
)
def test_semantic_table_refuses_wrong_counts(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="counts"):
        SemanticModule(num_classes=2, num_predicates=2).set_counts(counts)


def test_semantic_table_survives_a_state_dict() -> None:
    module = SemanticModule(num_classes=2, num_predicates=1)
    module.set_counts(np.ones((2, 2, 2), dtype=np.int64))
    other = SemanticModule(num_classes=2, num_predicates=1)
    other.load_state_dict(module.state_dict())
    rows = torch.tensor([0, 1])
    torch.testing.assert_close(other(rows, rows), module(rows, rows))


@pytest.mark.parametrize(
    "parts", [(True, True, True), (True, False, False), (False, True, False), (False, True, True)]
)
def test_visual_module_equals_concatenation_pair_by_pair(parts: tuple[bool, bool, bool]) -> None:
    """The first layer is split by entity and by unordered pair, which changes no result."""
    torch.manual_seed(0)
    fused, subject_skip, object_skip = parts
    module = VisualModule(
        feature_size=4, num_predicates=2, fused=fused, subject_skip=subject_skip, object_skip=object_skip
    ).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    subject, object = torch.randn(2, 3, 4, dtype=torch.double)
    pairs = Pairs.both_directions(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]))
    predicate = torch.randn(3, 4, dtype=torch.double)
    logits = module(module.entity_terms(subject, object), predicate, pairs)
    for m in range(6):
        s, o, u = subject[pairs.subject[m]], object[pairs.object[m]], predicate[pairs.union[m]]
        expected = torch.zeros(3, dtype=torch.double)
        if fused:
            hidden = F.leaky_relu(module.fuse(torch.cat([s, u, o])), 0.1)
            expected += module.score[3](F.leaky_relu(module.score[1](hidden), 0.1))
        if subject_skip:
            expected += module.subject_skip(s)
        if object_skip:
            expected += module.object_skip(o)
        torch.testing.assert_close(logits[m], expected)


@pytest.mark.parametrize("dropped", range(3))
def test_dropout_reaches_each_feature_in_training_only(dropped: int) -> None:
    torch.manual_seed(0)
    module = VisualModule(feature_size=4, num_predicates=2, dropout=0.5)
    module.dropout.p = 1.0  # every feature; a config may not say so
    pairs = Pairs.both_directions(torch.tensor([0]), torch.tensor([1]))

    def logits(features: list[torch.Tensor]) -> torch.Tensor:
        subject, object, predicate = features
        return module(module.entity_terms(subject, object), predicate, pairs)

    features = [torch.randn(2, 4), torch.randn(2, 4), torch.randn(1, 4)]
    other = [torch.randn_like(x) if i == dropped else x for i, x in enumerate(features)]
    assert torch.equal(logits(features), logits(other))
    module.eval()
    assert not torch.equal(logits(features), logits(other))


def test_a_visual_module_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        VisualModule(feature_size=4, num_predicates=2, fused=False, subject_skip=False, object_skip=False)


def truth_of(*rows: tuple[float, ...]) -> Instances:
    table = torch.tensor(rows).reshape(-1, 5)
    return Instances((100, 100), gt_boxes=Boxes(table[:, :4]), gt_classes=table[:, 4].long())


def test_detections_stand_for_the_ground_truth_they_overlap_most() -> None:
    truth = truth_of((0, 0, 10, 10, 3), (0, 0, 10, 10, 4), (50, 50, 60, 60, 5))
    boxes = Boxes(torch.tensor([[0, 0, 10, 5.0], [51, 50, 61, 60], [0, 0, 10, 4.9], [90, 90, 95, 95]]))
    row, overlaps = match_to_ground_truth(boxes, truth, 0.5)
    assert row[:2].tolist() == [0, 2]  # equal overlap: the lower row
    assert overlaps.tolist() == [True, True, False, False]

    found = Instances((100, 100), pred_boxes=boxes, pred_classes=torch.tensor([9, 9, 9, 9]))
    entities, matched = training_entities([found, found], [truth, truth_of()], 0.5)
    assert matched.tolist() == [0, 1, 2, 0, 2]
    assert entities[0].pred_classes.tolist() == [3, 4, 5, 3, 5]  # the ground truth's, not the detector's
    assert len(entities[1]) == 0
