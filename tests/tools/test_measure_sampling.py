"""The command that measures which pairs a config trains on."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from reldn_d2.modeling import EntityBatch, PublishedPairSampler
from reldn_d2.structures import Pairs, PairTargets
from tests.builders.commands import Captured
from tests.builders.tiny_models import TinyConfig, make_input, make_model
from tools import measure_sampling
from tools.measure_sampling import Figures, ProposalsNear

HEAD = "MODEL.ROI_RELATION_HEAD"


@pytest.mark.parametrize("method", ["paper", "published"])
def test_the_table_of_a_config(
    method: str, tiny_config: TinyConfig, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (f"{HEAD}.SAMPLING.METHOD", method, f"{HEAD}.OVERLAP_ONLY", "True")
    monkeypatch.setattr(measure_sampling, "load_config", lambda _, opts: tiny_config(*options, *opts))
    words = ["--config-file", "scenes/reldn.yaml", "--dataset", "reldn_scenes_tiny_train", "--images", "3"]
    monkeypatch.setattr(sys, "argv", ["measure_sampling.py", *words, "--around", "4"])
    measure_sampling.main()
    title, _, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "3 images of reldn_scenes_tiny_train, scenes/reldn.yaml"
    names, values = zip(*([cell.strip() for cell in row.split("|")[1:3]] for row in rows), strict=True)
    assert names[0] == "annotated pairs that can be positive" and len(names) == 4
    if method == "published":
        assert values[0] == "100.0 %"
    assert names[2] == "terms of class_agnostic / entity_class / predicate_class"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config-file", "scenes/tiny_detector.yaml"], "scenes/tiny_detector.yaml has no relation head"),
        (["--config-file", "nowhere.yaml"], "config file 'nowhere.yaml' does not exist"),
        (["--config-file", "lazy/scenes_reldn.py"], "lazy/scenes_reldn.py is a config in Python"),
        (["--dataset", "nothing"], "data set 'nothing' is not registered"),
        (["--around", "0"], "argument --around: 0 is not at least 1"),
        (["--images", "-5"], "argument --images: -5 is not at least 1"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "3"], "MODEL.ROI_HEADS.NUM_CLASSES is 3, but data set"),
        (["--weights", "nowhere.pth"], "nowhere.pth does not exist"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    options: list[str], message: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ["--config-file", "scenes/tiny_reldn.yaml", "--dataset", "reldn_scenes_tiny_train"]
    proposals = [] if "--weights" in options else ["--around", "2"]
    monkeypatch.setattr(sys, "argv", ["measure_sampling.py", *usual, *proposals, *options])
    with pytest.raises(SystemExit):
        measure_sampling.main()
    *_, error = capsys.readouterr().err.splitlines()
    assert f"error: {message}" in error


def test_weights_of_another_model_are_refused(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"model": {"other": torch.zeros(2)}}, tmp_path / "other.pth")
    words = ["--config-file", "scenes/tiny_reldn.yaml", "--dataset", "reldn_scenes_tiny_train"]
    monkeypatch.setattr(
        sys, "argv", ["measure_sampling.py", *words, "--weights", str(tmp_path / "other.pth")]
    )
    with pytest.raises(SystemExit):
        measure_sampling.main()
    *_, error = capsys.readouterr().err.splitlines()
    assert "error: " in error and "other.pth is of another model" in error


def test_figures_of_an_image_by_hand(tiny_config: TinyConfig) -> None:
    """(0, 1) is related. (0, 2) is a rival of its subject, and (3, 1) of its object."""
    losses: Any = make_model(tiny_config()).relation_head
    entities = EntityBatch.from_images(
        boxes=[torch.tensor([[0.0, 0, 9, 9]] * 4)], classes=[torch.tensor([0, 1, 1, 2])], image_sizes=[(9, 9)]
    )
    pairs = Pairs.one_direction(torch.tensor([0, 0, 3, 2, 1]), torch.tensor([1, 2, 1, 3, 0]))
    yes = torch.ones(5, dtype=torch.bool)
    related = torch.tensor([True, False, False, False, False])
    targets = PairTargets(
        label_pair=torch.tensor([0]),
        label_predicate=torch.tensor([3]),
        related=related,
        unrelated=~related,
        in_cross_entropy=torch.tensor([True, True, True, False, False]),
        subject_side=yes,
        object_side=torch.tensor([True, False, True, False, True]),
    )
    logits = torch.zeros(5, 8)
    logits[1, 3] = 1.0  # (0, 2) is taken for predicate 3, the other pairs for predicate 0
    figures = Figures(images=1)
    measure_sampling._count_drawn(figures, losses.contrastive_losses, logits, entities, pairs, targets)
    assert (figures.positive, figures.negative) == (1, 2)
    # Subjects: (0, 2) of four pairs has a positive. Objects: (3, 1) has one, and (1, 0) not.
    assert (figures.negatives, figures.useful) == (6, 2)
    # L1: both ends of (0, 1). L2: its subject, since 1 and 2 are of one class, but 0 and 3 are not.
    assert figures.terms == {"class_agnostic": 2, "entity_class": 1, "predicate_class": 1}


def test_pairs_that_can_be_positive(tiny_config: TinyConfig) -> None:
    entities = EntityBatch.from_images(
        boxes=[torch.tensor([[0.0, 0, 9, 9], [40, 40, 50, 50], [0, 0, 9, 9], [40, 40, 50, 50]])],
        classes=[torch.tensor([0, 1, 0, 1])],
        image_sizes=[(99, 99)],
    )
    image = make_input(0, [(0, 1, 2), (0, 1, 1), (1, 0, 0)])
    image["instances"] = make_input(2, [])["instances"]
    image["instances"].gt_boxes.tensor[:] = entities.boxes[2:]
    relations = [torch.tensor([[0, 1, 2]])]
    drawn = PublishedPairSampler()(entities, torch.zeros(4, dtype=torch.long), relations, [2])
    figures = Figures()
    measure_sampling._count_possible(figures, entities, image, *drawn)
    assert (figures.annotated, figures.possible) == (2, 1), "(1, 0) is no relationship of the sampler's"


def test_proposals_near_annotated_boxes() -> None:
    torch.manual_seed(0)
    near = ProposalsNear(50)
    near.truth = torch.tensor([[10.0, 10, 40, 40], [60, 60, 99, 99]])
    images: Any = type("Images", (), {"image_sizes": [(100, 100)]})
    (found,), losses = near(images, {}, None)
    boxes = found.proposal_boxes.tensor
    assert 2 < len(boxes) < 100 and not losses, "NMS drops boxes that are nearly equal"
    assert ((boxes >= 0) & (boxes <= 100)).all()
    shift = torch.minimum(*((boxes - truth).abs().amax(dim=1) for truth in near.truth))
    assert (shift <= 0.3 * 39 + 1e-4).all() and (shift > 1).any()
