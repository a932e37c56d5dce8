"""The losses of RelDN (Zhang et al., CVPR 2019, section 3): cross entropy and contrastive terms.

Shape letters: see `reldn_d2.structures.pairs`.

A contrastive term sorts the drawn pairs of each anchor (a subject or an object) into *cells*. The cells are

    ClassAgnosticTerm    L1: all drawn partners of the anchor (eq. 2, 3)
    EntityClassTerm      L2: the partners of one entity class (eq. 4, 5)
    PredicateClassTerm   L3: the positives of one predicate, and the negatives that the model predicts as this
                             predicate (eq. 6, 7)

Related pairs are positives, unrelated pairs are negatives. With the affinity `Φ(s, o) = 1 - p(∅ | s, o)`
(eq. 1), the margin of a cell is `min over positives of Φ - max over negatives of Φ`. Since
`max Φ = -min(-Φ)`, a single segment minimum over (sign, side, anchor, cell) gives the margins of all terms
and both sides, without a loop, a data-dependent shape or a device sync.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import Tensor
from torch.nn import functional as F

from reldn_d2.config_values import check_arguments
from reldn_d2.structures import EntityBatch, Pairs, PairTargets

Normalization = Literal["anchors", "published"]

_LOSS = "MODEL.ROI_RELATION_HEAD.LOSS"
_CROSS_ENTROPY = "cross_entropy"
_KEYS_OF_TERMS = {"NAME", "WEIGHT", "MARGIN", "BACKGROUND_IN_ARGMAX"}
# On a CPU, the softmax of rows shorter than a vector register is slower than that of the transposed table.
_SHORT_ROW = 16

CONTRASTIVE_TERM_REGISTRY = Registry("CONTRASTIVE_TERM")
CONTRASTIVE_TERM_REGISTRY.__doc__ = """
Registry for contrastive terms: subclasses of `ContrastiveTerm`.

Every CfgNode inside MODEL.ROI_RELATION_HEAD.LOSS is a term: NAME is a class of this registry, all other keys
are its keyword arguments in lower case. So a class is called with `weight`, `margin` and its own options from
the config, and with `num_classes` and `num_predicates` of the model. The loss of block SOME_TERM is called
"loss_rel_some_term". Blocks of terms outside this package need no default: they are added to the config, or
written in a YAML file, like

    MODEL:
      ROI_RELATION_HEAD:
        LOSS:
          SOME_TERM: {NAME: SomeTerm, WEIGHT: 0.5, MARGIN: 0.2}
"""


def predicate_cross_entropy(logits: Tensor, targets: PairTargets) -> Tensor:
    """L0: cross entropy over the P predicates and ∅, one sample per drawn (pair, predicate).

    Args:
        logits: (M, P+1).
        targets: which pairs were drawn and their labels; a pair with several labels gives several samples.

    Returns:
        Scalar, the mean over samples; a zero with a graph if nothing was drawn.

    Raises:
        ValueError: `logits` and `targets` are of different numbers of pairs.

    Example:
        Three pairs, of which the last is unrelated, and two predicates:

        >>> import torch
        >>> from reldn_d2.modeling import PairTargets, predicate_cross_entropy
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
        >>> targets = PairTargets.from_labels(torch.tensor([0, 1, 2]), num_predicates=2)
        >>> round(predicate_cross_entropy(logits, targets).item(), 3)
        0.526
    """
    if len(logits) != len(targets.related):
        raise ValueError(
            f"there are {len(logits)} rows of logits, but the targets are of {len(targets.related)} pairs: "
            "give one row for each pair"
        )
    log_probs = F.log_softmax(logits, dim=1)
    background = logits.shape[1] - 1
    label_drawn = targets.in_cross_entropy[targets.label_pair]
    unrelated_drawn = targets.in_cross_entropy & targets.unrelated
    log_likelihood = (log_probs[targets.label_pair, targets.label_predicate] * label_drawn).sum() + (
        log_probs[:, background] * unrelated_drawn
    ).sum()
    samples = label_drawn.sum() + unrelated_drawn.sum()
    return -log_likelihood / samples.clamp(min=1)


class CellMembership(NamedTuple):
    """Puts K pairs into cells of their subjects and of their objects.

    Attributes:
        cell: long in [0, num_cells): (2, K), cells of the subjects and then of the objects; (K,) if both are
            the same; or one number for all pairs.
        pair: (K,) long rows of the pairs. None: all M pairs, in order.
        excluded: (K,) bool, pairs that are in no cell. None: no pair is excluded.
    """

    cell: Tensor | int
    pair: Tensor | None = None
    excluded: Tensor | None = None


class ContrastiveTerm(ABC):
    """One contrastive loss: decides which pairs of an anchor compete, with what margin and weight.

    Attributes:
        weight: factor λ of the loss; 0 switches the term off.
        margin: α, by which the positives of a cell should exceed its negatives.
        num_classes: number of entity classes C.
        num_predicates: P, without the background.
    """

    def __init__(self, *, weight: float, margin: float, num_classes: int, num_predicates: int) -> None:
        """Sets the attributes.

        Args:
            weight, margin, num_classes, num_predicates: see the attributes.

        Raises:
            ValueError: weight or margin are not possible (`SETTINGS`).
        """
        check_arguments("ContrastiveTerm", weight=weight, margin=margin)
        self.weight, self.margin = weight, margin
        self.num_classes, self.num_predicates = num_classes, num_predicates

    @property
    @abstractmethod
    def num_cells(self) -> int:
        """Number of cells of each anchor, on either side."""

    @abstractmethod
    def memberships(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> Sequence[CellMembership]:
        """Assigns pairs to cells of their anchors.

        In a cell, the caller treats related pairs as positives and unrelated pairs as negatives, and leaves
        out pairs that were not drawn. A pair may be in several cells. The shapes should not depend on values,
        so that no device sync is needed.

        Args:
            logits: (M, P+1) predicate logits, without gradient.
            entities: E entities.
            pairs: M ordered pairs.
            targets: related and unrelated pairs, their labels, and the partners drawn for each side.
        """


@CONTRASTIVE_TERM_REGISTRY.register()
class ClassAgnosticTerm(ContrastiveTerm):
    """L1: all partners of an anchor compete in one cell (eq. 2, 3)."""

    @property
    def num_cells(self) -> int:
        """One cell for each anchor."""
        return 1

    def memberships(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> Sequence[CellMembership]:
        """All pairs are in the only cell of their anchors."""
        return [CellMembership(cell=0)]


@CONTRASTIVE_TERM_REGISTRY.register()
class EntityClassTerm(ContrastiveTerm):
    """L2: the partners of one entity class compete, against confusion of its instances (eq. 4, 5)."""

    @property
    def num_cells(self) -> int:
        """One cell for each entity class."""
        return self.num_classes

    def memberships(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> Sequence[CellMembership]:
        """A pair is in the cell of its partner's class."""
        partner = torch.stack([pairs.object, pairs.subject])
        return [CellMembership(cell=entities.classes[partner])]


@CONTRASTIVE_TERM_REGISTRY.register()
class PredicateClassTerm(ContrastiveTerm):
    """L3: positives of a predicate compete with negatives that are predicted as it (eq. 6, 7)."""

    def __init__(self, *, background_in_argmax: bool = False, **term: Any) -> None:
        """Sets the attributes.

        Args:
            background_in_argmax: whether ∅ takes part in the argmax that gives a negative's predicted class.
                If so, a pair predicted as ∅ is a negative of no predicate. If not, every unrelated pair is a
                negative of the predicate with the highest logit.
            term: arguments of `ContrastiveTerm`.
        """
        super().__init__(**term)
        check_arguments("PredicateClassTerm", background_in_argmax=background_in_argmax)
        self.background_in_argmax = background_in_argmax

    @property
    def num_cells(self) -> int:
        """One cell for each predicate."""
        return self.num_predicates

    def memberships(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> Sequence[CellMembership]:
        """A related pair is in the cells of its labels, an unrelated pair in that of its predicted class."""
        background = self.num_predicates
        predicted = (logits if self.background_in_argmax else logits[:, :background]).argmax(dim=1)
        return [
            CellMembership(cell=targets.label_predicate, pair=targets.label_pair),
            CellMembership(
                cell=predicted.clamp(max=background - 1),
                excluded=targets.related | (predicted == background),
            ),
        ]


class ContrastiveLosses:
    """Computes all contrastive terms of a batch together, for the logits of any model.

    Attributes:
        terms: terms by name, without those of weight 0.
        normalization: see `__init__`.

    Example:
        The logits of another model for one person and two cups (class 1) of an image, and one predicate. The
        person holds the first cup, but the model prefers the second one:

        >>> import torch
        >>> from reldn_d2.modeling import ContrastiveLosses, EntityBatch, EntityClassTerm, Pairs, PairTargets
        >>> term = EntityClassTerm(weight=0.5, margin=0.2, num_classes=2, num_predicates=1)
        >>> losses = ContrastiveLosses(terms={"entity_class": term})
        >>> boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.4, 0.3, 0.5, 0.4], [0.7, 0.3, 0.8, 0.4]])
        >>> entities = EntityBatch.from_images(
        ...     boxes=[boxes], classes=[torch.tensor([0, 1, 1])], image_sizes=[(1, 1)], num_classes=2
        ... )
        >>> pairs = Pairs.from_images([torch.tensor([[0, 1], [0, 2]])], entities.counts)
        >>> targets = PairTargets.from_labels(torch.tensor([0, 1]), num_predicates=1)
        >>> logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # the last column is the background
        >>> round(losses(logits, entities, pairs, targets)["loss_rel_entity_class"].item(), 3)
        0.29

        A model whose background class is the first one moves it to the end:

        >>> of_the_model = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
        >>> of_the_model.roll(-1, dims=1).tolist() == logits.tolist()
        True
    """

    @configurable
    def __init__(
        self, *, terms: Mapping[str, ContrastiveTerm], normalization: Normalization = "anchors"
    ) -> None:
        """Keeps the terms that have a weight.

        Args:
            terms: terms by name. A term of weight 0 is neither computed nor returned.
            normalization: "anchors" averages over the valid cells of each anchor and then over the anchors of
                the batch that have a valid cell; "published" divides the sum over all valid cells of a side
                by their number plus one.

        Raises:
            ValueError: `normalization` is not possible (`SETTINGS`), or a term has the name of L0.
        """
        check_arguments("ContrastiveLosses", normalization=normalization)
        if _CROSS_ENTROPY in terms:
            raise ValueError(
                f"a contrastive term cannot be called {_CROSS_ENTROPY!r}, which is the name of L0: rename it "
                f"in {_LOSS}"
            )
        self.terms = {name: term for name, term in terms.items() if term.weight}
        self.normalization = normalization

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Makes the terms of all blocks inside LOSS."""
        loss = cfg.MODEL.ROI_RELATION_HEAD.LOSS
        keys = [key for key in loss if key not in ("CROSS_ENTROPY_WEIGHT", "NORMALIZATION")]
        terms = {key.lower(): _term_from_config(cfg, key) for key in keys}
        return {"terms": terms, "normalization": loss.NORMALIZATION}

    def __call__(
        self, logits: Tensor, entities: EntityBatch, pairs: Pairs, targets: PairTargets
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            logits: (M, P+1) predicate logits.
            entities: the E entities.
            pairs: the M ordered pairs.
            targets: related and unrelated pairs, and the partners drawn for each side.

        Returns:
            "loss_rel_{name}" of each term: a scalar, times the term's weight. It is a zero with a graph if
            the term has no valid cell.

        Raises:
            ValueError: `logits`, `pairs` and `targets` do not fit each other or the terms.
        """
        if not self.terms:
            return {}
        terms = list(self.terms.values())
        _check_sizes(terms, logits, pairs, targets)
        positive, negative = _cell_minima(terms, logits, entities, pairs, targets)
        means = _mean_hinges(positive + negative, terms, self.normalization)
        return {
            f"loss_rel_{name}": term.weight * mean
            for (name, term), mean in zip(self.terms.items(), means, strict=True)
        }


def _check_sizes(
    terms: Sequence[ContrastiveTerm], logits: Tensor, pairs: Pairs, targets: PairTargets
) -> None:
    """Refuses logits and targets of other pairs, and logits of other predicates than those of the terms."""
    for term in terms:
        wanted = (len(pairs), term.num_predicates + 1)
        if logits.shape != wanted:
            raise ValueError(
                f"logits are {tuple(logits.shape)}, but must be {wanted}: one row for each of the "
                f"{len(pairs)} pairs, one column for each of the {term.num_predicates} predicates of "
                f"{type(term).__name__}, and the background as last column"
            )
    if len(targets.related) != len(pairs):
        raise ValueError(
            f"the targets are of {len(targets.related)} pairs, but there are {len(pairs)} pairs: give "
            "one label for each pair"
        )


def _term_from_config(cfg: CfgNode, key: str) -> ContrastiveTerm:
    """Makes the term of one block inside LOSS."""
    block = getattr(cfg.MODEL.ROI_RELATION_HEAD.LOSS, key)
    # LOSS accepts new keys, so misspelt keys are found here.
    if not isinstance(block, CfgNode) or "NAME" not in block:
        others = [name for name in cfg.MODEL.ROI_RELATION_HEAD.LOSS if name != key]
        raise ValueError(
            f"{_LOSS} has no key {key}{_similar(key, others)}: correct its name, or, for a new contrastive "
            f"term, give a block {key}: {{NAME: a class in CONTRASTIVE_TERM_REGISTRY, WEIGHT: ..., "
            "MARGIN: ...}"
        )
    options = {name.lower(): getattr(block, name) for name in block if name != "NAME"}
    if block.NAME not in CONTRASTIVE_TERM_REGISTRY:
        names = [name for name, _ in CONTRASTIVE_TERM_REGISTRY]
        raise ValueError(
            f"{_LOSS}.{key}.NAME is {block.NAME!r}, which is not in CONTRASTIVE_TERM_REGISTRY"
            f"{_similar(block.NAME, names)}: correct it, or --import the module that registers it"
        )
    try:
        term: ContrastiveTerm = CONTRASTIVE_TERM_REGISTRY.get(block.NAME)(
            **options,
            num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            num_predicates=cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES,
        )
    except TypeError as error:  # a key that the term does not have, or one that is missing
        near = "".join(
            f"; {name}{similar}" for name in block if (similar := _similar(name, _KEYS_OF_TERMS - {name}))
        )
        raise ValueError(f"{_LOSS}.{key} does not fit {block.NAME}: {error}{near}") from error
    return term


def _similar(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _cell_minima(
    terms: Sequence[ContrastiveTerm],
    logits: Tensor,
    entities: EntityBatch,
    pairs: Pairs,
    targets: PairTargets,
) -> Tensor:
    """Computes the minimum of Φ over the positives and of -Φ over the negatives of each cell.

    Returns:
        (2, 2, E, cells of all terms): minima by sign, side, anchor and cell; infinite if there are no such
        pairs.
    """
    *first_cells, num_cells = accumulate((term.num_cells for term in terms), initial=0)
    sides, num_anchors = 2, len(entities)
    # The rows of these (2, M) tables are the two sides: subjects as anchors, then objects as anchors.
    anchor = torch.stack([pairs.subject, pairs.object])
    drawn = torch.stack([targets.subject_side, targets.object_side])
    affinity = _affinity(logits)
    signed = torch.where(targets.related, affinity, -affinity)
    signed = signed.expand(sides, -1).masked_fill(~(drawn & (targets.related | targets.unrelated)), torch.inf)

    # Position in the flattened result where the cells of each pair's sign, side and anchor begin.
    side = torch.arange(sides, device=logits.device)[:, None]
    begin = (side * num_anchors + anchor) * num_cells
    begin = begin + sides * num_anchors * num_cells * ~targets.related
    values, places = [], []
    fixed_logits = logits.detach()
    for term, first_cell in zip(terms, first_cells, strict=True):
        for cell, pair, excluded in term.memberships(fixed_logits, entities, pairs, targets):
            value = signed if pair is None else signed.index_select(1, pair)
            values.append(value if excluded is None else value.masked_fill(excluded, torch.inf))
            places.append((begin if pair is None else begin[:, pair]) + (first_cell + cell))
    result = signed.new_full((2 * sides * num_anchors * num_cells,), torch.inf)
    result = result.scatter_reduce(
        0, torch.cat(places, dim=1).flatten(), torch.cat(values, dim=1).flatten(), "amin"
    )
    return result.view(2, sides, num_anchors, num_cells)


def _affinity(logits: Tensor) -> Tensor:
    """Computes Φ = 1 - p(∅) of each row (eq. 1)."""
    if logits.device.type == "cpu" and logits.shape[1] < _SHORT_ROW:
        return 1 - logits.t().softmax(dim=0)[-1]
    return 1 - logits.softmax(dim=1)[:, -1]


def _mean_hinges(
    margins: Tensor, terms: Sequence[ContrastiveTerm], normalization: Normalization
) -> tuple[Tensor, ...]:
    """Averages max(0, α - margin) of each term over the cells that have a margin.

    In a cell without positives or without negatives the margin is infinite, so its hinge is 0.

    Args:
        margins: (sides, anchors, cells of all terms).
        terms: the terms, in the order of their cells.
        normalization: see `ContrastiveLosses`.
    """
    sizes = [term.num_cells for term in terms]
    valid = (margins != torch.inf).to(margins.dtype)
    # Numbers of cells with a margin, of shape (terms, sides, anchors), and their sums of hinges.
    cells = torch.stack([table.sum(dim=2) for table in torch.split(valid, sizes, dim=2)])
    hinges = torch.stack(
        [
            (term.margin - table).clamp(min=0).sum(dim=2)
            for term, table in zip(terms, torch.split(margins, sizes, dim=2), strict=True)
        ]
    )
    if normalization == "published":
        means = hinges.sum(dim=2) / (cells.sum(dim=2) + 1)
    else:
        anchors = cells.sign().sum(dim=2)
        means = (hinges / cells.clamp(min=1)).sum(dim=2) / anchors.clamp(min=1)
    return means.sum(dim=1).unbind()
