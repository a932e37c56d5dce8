"""Contrastive terms in a config: a term from outside the package, and mistakes in the config."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from torch import Tensor

from reldn_d2.engine import Trainer, load_config
from reldn_d2.modeling import CONTRASTIVE_TERM_REGISTRY, CellMembership, ContrastiveTerm
from reldn_d2.modeling.relation_head import ClassAgnosticTerm, ContrastiveLosses
from reldn_d2.structures import EntityBatch, Pairs, PairTargets
from tests.builders.tiny_models import TinyConfig, make_model
from tests.references.losses import Batch, slow_loss

LOSS = "MODEL.ROI_RELATION_HEAD.LOSS"


class ParityTerm(ContrastiveTerm):
    """A toy term of a user: partners whose entity classes have the same remainder compete."""

    def __init__(
        self, *, divisor: int, weight: float, margin: float, num_classes: int, num_predicates: int
    ) -> None:
        super().__init__(weight=weight, margin=margin, num_classes=num_classes, num_predicates=num_predicates)
        self.divisor = divisor

    @property
    def num_cells(self) -> int:
        return self.divisor

    def memberships(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> Sequence[CellMembership]:
        partner = torch.stack([pairs.object, pairs.subject])
        return [CellMembership(cell=entities.classes[partner] % self.divisor)]


@pytest.fixture
def toy_term() -> Iterator[CfgNode]:
    """Registers the toy term, and returns its config block."""
    CONTRASTIVE_TERM_REGISTRY.register(ParityTerm)
    yield CfgNode({"NAME": "ParityTerm", "WEIGHT": 0.7, "MARGIN": 0.3, "DIVISOR": 2})
    del CONTRASTIVE_TERM_REGISTRY._obj_map["ParityTerm"]


def test_a_term_from_outside_trains(
    toy_term: CfgNode, tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer runs three steps. The loss is reported and equals that of a slow version."""
    detector = tmp_path / "detector.pth"
    weights = make_model(tiny_config()).state_dict()
    torch.save({"model": {k: v for k, v in weights.items() if not k.startswith("relation_")}}, detector)
    cfg = tiny_config("MODEL.WEIGHTS", str(detector), "SOLVER.MAX_ITER", "3")
    cfg.MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS = ("motifs",)
    cfg.MODEL.ROI_RELATION_HEAD.LOSS.PARITY = toy_term
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    expected: list[float] = []
    head = trainer.model.relation_head
    compute = head.contrastive_losses

    def observed(
        logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> dict[str, Tensor]:
        batch = Batch(logits.detach(), entities, pairs, targets, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
        expected.append(0.7 * slow_parity_loss(batch, margin=0.3))
        return compute(logits, entities, pairs, targets)

    monkeypatch.setattr(head, "contrastive_losses", observed)
    trainer.train()
    found = [value for value, _ in trainer.storage.history("loss_rel_parity").values()]
    assert len(found) == 3 and min(found) > 0
    assert found == pytest.approx(expected, rel=1e-4)
    assert trainer.storage.history("loss_rel_entity_class").latest() > 0
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert any("loss_rel_parity" in line for line in metrics)

    # A saved config builds the same losses.
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = ContrastiveLosses(load_config(str(tmp_path / "config.yaml"), []))
    assert list(again.terms) == ["class_agnostic", "entity_class", "predicate_class", "parity"]
    assert vars(again.terms["parity"]) == vars(compute.terms["parity"])


def slow_parity_loss(batch: Batch, margin: float) -> float:
    """The loss of `ParityTerm` from its definition, in float64 and in loops."""
    parity = (batch.entities.classes % 2).tolist()
    batch = batch._replace(logits=batch.logits.double())
    loss = slow_loss(
        batch,
        lambda side: (lambda m: {parity[side.partner[m]]}, lambda m: parity[side.partner[m]]),
        margin,
        "anchors",
    )
    return float(loss)


def test_a_yaml_file_may_add_a_term(toy_term: CfgNode, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"MODEL": {"ROI_RELATION_HEAD": {"LOSS": {"PARITY": dict(toy_term)}}}}))
    terms = ContrastiveLosses(load_config(str(file), [f"{LOSS}.PARITY.WEIGHT", "0.25"])).terms
    assert (terms["parity"].weight, terms["parity"].num_cells) == (0.25, 2)
    assert "parity" not in ContrastiveLosses(load_config(str(file), [f"{LOSS}.PARITY.WEIGHT", "0.0"])).terms


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        (
            "NORMALISATION",
            "anchors",
            ValueError,
            rf"{LOSS} has no key NORMALISATION \(did you mean NORMALIZATION\?\)",
        ),
        (
            "ENTITY_CLAS",
            CfgNode({"WEIGHT": 0.0}),
            ValueError,
            rf"{LOSS} has no key ENTITY_CLAS \(did you mean ENTITY_CLASS\?\)",
        ),
        ("MINE", CfgNode({"NAME": "NoSuchTerm"}), ValueError, "NoSuchTerm"),
        (
            "CROSS_ENTROPY",
            CfgNode({"NAME": "ClassAgnosticTerm", "WEIGHT": 1.0, "MARGIN": 0.2}),
            ValueError,
            "cannot be called 'cross_entropy'",
        ),
    ],
)
def test_mistakes_in_the_config_are_named(
    tiny_config: TinyConfig, key: str, value: object, error: type[Exception], message: str
) -> None:
    cfg = tiny_config()
    cfg.MODEL.ROI_RELATION_HEAD.LOSS[key] = value
    with pytest.raises(error, match=message):
        ContrastiveLosses(cfg)


def test_a_misspelt_key_of_a_term_is_refused(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match="WEIGTH, which does not exist"):
        tiny_config(f"{LOSS}.ENTITY_CLASS.WEIGTH", "0.0")


def test_an_unknown_normalization_is_refused_at_construction() -> None:
    term = ClassAgnosticTerm(weight=1.0, margin=0.2, num_classes=3, num_predicates=2)
    with pytest.raises(
        ValueError, match=rf"'mean': give 'anchors' or 'published' \(in a config: {LOSS}.NORM"
    ):
        ContrastiveLosses(terms={"class_agnostic": term}, normalization="mean")


def test_the_losses_are_called_by_their_terms_alone() -> None:
    """Without a term there is no loss."""
    nothing = torch.zeros(0, dtype=torch.long)
    boxes = torch.zeros(0, 4)
    entities = EntityBatch(boxes, boxes, nothing, torch.zeros(0), nothing, torch.zeros(0, 2), [], [])
    flags = nothing.bool()
    targets = PairTargets(nothing, nothing, flags, flags, flags, flags, flags)
    pairs = Pairs.one_direction(nothing, nothing)
    assert ContrastiveLosses(terms={})(torch.zeros(0, 3), entities, pairs, targets) == {}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{NAME: ClassAgnosticTerm, WIEGHT: 1.0, MARGIN: 0.2}", "LOSS.NEW does not fit .*wieght.*WEIGHT"),
        ("{NAME: ClassAgnosticTerm, WEIGHT: 1.0}", "LOSS.NEW does not fit Class.*margin"),
        ("{NAME: NoSuchTerm, WEIGHT: 1.0, MARGIN: 0.2}", "LOSS.NEW.NAME is 'NoSuchTerm'"),
    ],
)  # fmt: skip
def test_a_block_that_is_no_term_is_named(
    block: str, message: str, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(f"MODEL: {{ROI_RELATION_HEAD: {{LOSS: {{NEW: {block}}}}}}}\n")
    cfg = tiny_config()
    cfg.merge_from_file(str(file))
    with pytest.raises(ValueError, match=message):
        ContrastiveLosses(cfg)
