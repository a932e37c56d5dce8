"""The three modules whose logits RelDN adds up (section 4, eq. 12): `softmax(f_vis + f_spt + f_sem)`.

Each returns (M, P+1) logits, background predicate last. Shape letters: see `reldn_d2.structures.pairs`.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fvcore.nn import weight_init
from torch import Tensor, nn
from torch.nn import functional as F

from reldn_d2.config_values import check_arguments
from reldn_d2.structures import Pairs
from reldn_d2.structures.predicate_counts import (
    PredicateCounts,
    is_large,
    related_pairs,
    rows_of,
    smallest,
    table_bytes,
)

from .predicate_table import check_sparse, log_frequencies, to_dense, to_sparse
from .spatial import SPATIAL_FEATURE_SIZE, spatial_features

SpatialFeatures = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Computes the 28 numbers of pairs, with the arguments of `spatial_features`."""

#: Largest semantic table that is trained, in bytes. Its gradient and its momentum take as much again.
TRAINED_LIMIT = 1_000_000_000

_NEGATIVE_SLOPE = 0.1
# Names of the tensors of a semantic table in its two forms.
_DENSE, _SPARSE = ("log_prior",), ("log_prior_rows", "row_of_pair")
# About how many numbers of the semantic table are computed at once. This limits the memory.
_NUMBERS_AT_ONCE = 2**20


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    weight_init.c2_xavier_fill(layer)  # uniform ±sqrt(3 / fan_in), zero bias
    return layer


class SemanticModule(nn.Module):
    """Log of the empirical p(predicate | subject class s, object class o): `log(p(. | s, o) + eps)`.

    The table is saved in checkpoints, so inference needs no training data. At first it is NaN, and using it
    before it is set is an error. It has one of two forms, which give the same logits:

    * up to `DENSE_LIMIT` of `reldn_d2.structures.predicate_counts`, and if it is trained: the parameter
      `log_prior` (C, C, P+1);
    * above: the frozen parameter `log_prior_rows` (K+1, P+1), whose first row is that of all pairs of classes
      without a relationship, and the buffer `row_of_pair` (C, C).

    Each form loads state dicts of both.

    Attributes:
        shape: (C, C, P+1), in both forms.
    """

    row_of_pair: Tensor

    def __init__(
        self, *, num_classes: int, num_predicates: int, learnable: bool = False, eps: float = 1e-3
    ) -> None:
        """Makes a table of NaN.

        Args:
            num_classes: C.
            num_predicates: P.
            learnable: whether the table is trained.
            eps: number added to each probability before the logarithm.

        Raises:
            ValueError: an argument is not possible (`SETTINGS`), or the table is to be trained, and is larger
                than `TRAINED_LIMIT`.
        """
        check_arguments(
            "SemanticModule",
            num_classes=num_classes,
            num_predicates=num_predicates,
            learnable=learnable,
            eps=eps,
        )
        super().__init__()
        self.eps = eps
        self.shape = (num_classes, num_classes, num_predicates + 1)
        if learnable:
            _refuse_to_train(self.shape)
        self._is_sparse = is_large(num_classes, num_predicates) and not learnable
        if self._is_sparse:
            self.log_prior_rows = nn.Parameter(
                torch.full((1, num_predicates + 1), torch.nan), requires_grad=False
            )
            self.register_buffer("row_of_pair", torch.zeros(num_classes, num_classes, dtype=torch.int32))
        else:
            self.log_prior = nn.Parameter(torch.full(self.shape, torch.nan), requires_grad=learnable)
        self._known_to_be_set = False
        register: Callable[..., Any] = self.register_load_state_dict_pre_hook  # torch gives it no type
        register(SemanticModule._before_loading)

    @property
    def table(self) -> nn.Parameter:
        """The parameter with the rows, in either form."""
        return self.log_prior_rows if self._is_sparse else self.log_prior

    def names(self) -> tuple[str, ...]:
        """Names of the parameter and, in the sparse form, of the buffer."""
        return _SPARSE if self._is_sparse else _DENSE

    def other_names(self) -> tuple[str, ...]:
        """The names of the form that this module does not have."""
        return _DENSE if self._is_sparse else _SPARSE

    def tensors(self) -> tuple[Tensor, ...]:
        """The parameter and, in the sparse form, the buffer."""
        return tuple(getattr(self, name) for name in self.names())

    @torch.no_grad()
    def set_counts(self, counts: PredicateCounts) -> None:
        """Sets the table from counts over a training set.

        Args:
            counts: (C, C, P+1) non-negative: how often each predicate, and in the last column no
                relationship, occurs for (subject class, object class). One is added to the last column, so
                that a pair of classes without counts gets the background almost surely.

        Raises:
            ValueError: the shape is another, or a count is negative or NaN.
        """
        if counts.shape != self.shape:
            raise ValueError(
                f"the predicate counts have shape {counts.shape}, but this model needs {self.shape} (entity "
                "classes, entity classes, predicates + 1): count the data set with the classes that the "
                "config names"
            )
        if not smallest(counts) >= 0:
            raise ValueError("the predicate counts hold negative numbers or NaN")
        pairs = torch.from_numpy(related_pairs(counts))
        if self._is_sparse:
            self._resize(len(pairs) + 1)
            table, places = self.log_prior_rows.data, torch.arange(1, len(pairs) + 1)
            self.row_of_pair.zero_().view(-1)[pairs] = places.to(self.row_of_pair)
        else:
            table, places = self.log_prior.data.view(-1, self.shape[-1]), pairs
        table.copy_(log_frequencies(np.zeros((1, self.shape[-1])), self.eps))
        step = max(_NUMBERS_AT_ONCE // self.shape[-1], 1)
        for some in (slice(start, start + step) for start in range(0, len(pairs), step)):
            table[places[some]] = log_frequencies(rows_of(counts, pairs[some].numpy()), self.eps).to(table)
        self._known_to_be_set = True

    def forward(self, subject_classes: Tensor, object_classes: Tensor) -> Tensor:
        """Looks up the logits of pairs of classes.

        Args:
            subject_classes, object_classes: (M,) long in [0, C).

        Returns:
            (M, P+1).

        Raises:
            RuntimeError: the table is not set.
        """
        if not self._known_to_be_set:
            # Checked only once, because it needs a transfer from the device.
            if bool(self.table.isnan().any()):
                raise RuntimeError(
                    "the semantic module has no predicate statistics: load a trained RelDN checkpoint, or "
                    "call reldn_d2.engine.set_predicate_statistics before training"
                )
            self._known_to_be_set = True
        if self._is_sparse:
            return self.log_prior_rows[self.row_of_pair[subject_classes, object_classes].long()]
        return self.log_prior[subject_classes, object_classes]

    def adopt_form(self, state_dict: MutableMapping[str, Tensor], prefix: str) -> None:
        """Changes the table of a state dict to this module's form, in place. One of other classes stays.

        Args:
            state_dict: tensors by name.
            prefix: what stands before the names of this module's tensors.

        Raises:
            ValueError: the parts of the state dict's table do not belong to each other.
        """
        dense, rows, numbers = (f"{prefix}{name}" for name in (*_DENSE, *_SPARSE))
        if self._is_sparse and dense in state_dict and state_dict[dense].shape == self.shape:
            state_dict[rows], state_dict[numbers] = to_sparse(state_dict.pop(dense))
        elif not self._is_sparse and self._has_rows_of_its_size(state_dict, prefix):
            check_sparse(state_dict[rows], state_dict[numbers])
            self.to_dense_form(state_dict, prefix)

    def to_dense_form(self, state_dict: MutableMapping[str, Tensor], prefix: str) -> None:
        """Changes the table of a state dict to the dense form, in place, if it has the other.

        Args:
            state_dict, prefix: see `adopt_form`.
        """
        dense, rows, numbers = (f"{prefix}{name}" for name in (*_DENSE, *_SPARSE))
        if rows in state_dict:
            state_dict[dense] = to_dense(state_dict.pop(rows), state_dict.pop(numbers))

    def adopt_length(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        """Gives the sparse form as many rows as the table of a state dict has. Their values are then NaN.

        A model that is built from its config does not know how many pairs of classes have a relationship.

        Args:
            state_dict, prefix: see `adopt_form`.

        Raises:
            ValueError: see `adopt_form`.
        """
        if self._is_sparse and self._has_rows_of_its_size(state_dict, prefix):
            rows, numbers = (state_dict[f"{prefix}{name}"] for name in _SPARSE)
            check_sparse(rows, numbers)
            if len(rows) != len(self.log_prior_rows):
                self._resize(len(rows))

    def _has_rows_of_its_size(self, state_dict: Mapping[str, Tensor], prefix: str) -> bool:
        rows, numbers = (state_dict.get(f"{prefix}{name}") for name in _SPARSE)
        if rows is None or numbers is None:
            return False
        return rows.shape[1:] == self.shape[2:] and numbers.shape == self.shape[:2]

    def _resize(self, rows: int) -> None:
        # The parameter stays the same object, since others may have a reference to it.
        self.log_prior_rows.data = self.log_prior_rows.new_full((rows, self.shape[-1]), torch.nan)
        self._known_to_be_set = False

    def _before_loading(self, state_dict: MutableMapping[str, Tensor], prefix: str, *_: Any) -> None:
        self._known_to_be_set = False  # `forward` checks the table again
        self.adopt_form(state_dict, prefix)
        self.adopt_length(state_dict, prefix)
        names = [f"{prefix}{name}" for name in _SPARSE]
        if sum(name in state_dict for name in names) == 1:
            # A checkpointer drops tensors of other shapes. Half a table would be a wrong one.
            for name in names:
                state_dict.pop(name, None)


def _refuse_to_train(shape: tuple[int, int, int]) -> None:
    size = table_bytes(shape[0], shape[-1] - 1)
    if size > TRAINED_LIMIT:
        raise ValueError(
            "a semantic table that is trained (MODEL.ROI_RELATION_HEAD.SEMANTIC.LEARNABLE) has a row for "
            f"each pair of entity classes: its {' x '.join(map(str, shape))} numbers take "
            f"{size / 1e9:.1f} GB, with gradient and momentum {3 * size / 1e9:.1f} GB. The limit is "
            f"{TRAINED_LIMIT / 1e9:.1f} GB for the table. Set LEARNABLE to False: a frozen table "
            "takes memory only for the pairs that have a relationship"
        )


class SpatialModule(nn.Module):
    """MLP 28 → 64 → 64 → P+1 on the 28 geometric numbers of a pair (eq. 11)."""

    def __init__(
        self,
        *,
        num_predicates: int,
        hidden: int = 64,
        features: SpatialFeatures = spatial_features,
    ) -> None:
        """Makes the MLP.

        Args:
            num_predicates: P.
            hidden: width of the two hidden layers.
            features: computes the 28 numbers of pairs, with the arguments of `spatial_features`.

        Raises:
            ValueError: the number of predicates is not possible (`SETTINGS`).
        """
        check_arguments("SpatialModule", num_predicates=num_predicates)
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(
            _linear(SPATIAL_FEATURE_SIZE, hidden),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            _linear(hidden, hidden),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            _linear(hidden, num_predicates + 1),
        )

    def output_layers(self) -> list[nn.Linear]:
        """The last layer, with a row for each predicate and the background."""
        return [layer for layer in self.mlp[-1:] if isinstance(layer, nn.Linear)]

    def forward(self, subject_boxes: Tensor, object_boxes: Tensor, image_sizes: Tensor) -> Tensor:
        """Computes the logits of pairs of boxes.

        Args:
            subject_boxes, object_boxes: (M, 4) XYXY.
            image_sizes: (M, 2), (height, width).

        Returns:
            (M, P+1).
        """
        features = self.features(subject_boxes, object_boxes, image_sizes)
        logits: Tensor = self.mlp(features.to(next(self.mlp.parameters()).dtype))
        return logits


@dataclass(frozen=True)
class EntityTerms:
    """The parts of the visual module that are computed once per entity. A part that is off is None.

    Attributes:
        subject_hidden, object_hidden: (E, 3D/2) parts of the first layer of the fused branch.
        subject_logits, object_logits: (E, P+1) outputs of the skip connections.
    """

    subject_hidden: Tensor | None
    object_hidden: Tensor | None
    subject_logits: Tensor | None
    object_logits: Tensor | None


class VisualModule(nn.Module):
    """MLP 3D → 3D/2 → D → P+1 that fuses the features `<S, P, O>`, plus two skip connections.

    The first layer is linear in the three features. So its subject and object parts are computed once per
    entity, its predicate part once per unordered pair, and each pair adds up three rows. The skip connections
    are linear layers on the subject feature and on the object feature.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        num_predicates: int,
        fused: bool = True,
        subject_skip: bool = True,
        object_skip: bool = True,
        dropout: float = 0.0,
    ) -> None:
        """Makes the layers of the parts that are switched on.

        Args:
            feature_size: D.
            num_predicates: P.
            fused: whether the MLP is on.
            subject_skip, object_skip: whether the skip connections are on.
            dropout: share of the three features that training drops. Not in the paper; it helps with few
                photos.

        Raises:
            ValueError: all parts are off, or an argument is not possible (`SETTINGS`).
        """
        check_arguments(
            "VisualModule",
            num_predicates=num_predicates,
            fused=fused,
            subject_skip=subject_skip,
            object_skip=object_skip,
            dropout=dropout,
        )
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        if not (fused or subject_skip or object_skip):
            raise ValueError(
                "a visual module with all parts switched off has nothing to compute: leave it out"
            )
        hidden, outputs = 3 * feature_size // 2, num_predicates + 1
        self.fuse = _linear(3 * feature_size, hidden) if fused else None
        self.score = (
            nn.Sequential(
                # In place, since the inputs are not used again and new memory would cost more than the sums.
                nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True),
                _linear(hidden, feature_size),
                nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True),
                _linear(feature_size, outputs),
            )
            if fused
            else None
        )
        self.subject_skip = _linear(feature_size, outputs) if subject_skip else None
        self.object_skip = _linear(feature_size, outputs) if object_skip else None

    def output_layers(self) -> list[nn.Linear]:
        """The last layer of each part, with a row for each predicate and the background."""
        fused = None if self.score is None else self.score[-1]
        layers = (fused, self.subject_skip, self.object_skip)
        return [layer for layer in layers if isinstance(layer, nn.Linear)]

    def entity_terms(self, subject_features: Tensor | None, object_features: Tensor | None) -> EntityTerms:
        """Computes the parts that depend on single entities.

        Args:
            subject_features, object_features: (E, D); may be None if no part needs them.
        """
        if subject_features is not None:
            subject_features = self.dropout(subject_features)
        if object_features is not None:
            object_features = self.dropout(object_features)
        subject_hidden = object_hidden = None
        if self.fuse is not None:
            assert subject_features is not None and object_features is not None
            subject_weight, _, object_weight = self.fuse.weight.chunk(3, dim=1)
            subject_hidden = F.linear(subject_features, subject_weight, self.fuse.bias)
            object_hidden = F.linear(object_features, object_weight)
        return EntityTerms(
            subject_hidden=subject_hidden,
            object_hidden=object_hidden,
            subject_logits=None if self.subject_skip is None else self.subject_skip(subject_features),
            object_logits=None if self.object_skip is None else self.object_skip(object_features),
        )

    def forward(self, terms: EntityTerms, predicate_features: Tensor | None, pairs: Pairs) -> Tensor:
        """Computes the logits of pairs.

        Args:
            terms: result of `entity_terms` for E entities.
            predicate_features: (U, D), one row per unordered pair; may be None if the fused branch is off.
            pairs: M ordered pairs.

        Returns:
            (M, P+1).
        """
        parts: list[Tensor] = []
        if self.fuse is not None and self.score is not None:
            assert predicate_features is not None
            _, predicate_weight, _ = self.fuse.weight.chunk(3, dim=1)
            predicate_hidden = F.linear(self.dropout(predicate_features), predicate_weight)
            assert terms.subject_hidden is not None and terms.object_hidden is not None
            hidden_sum = terms.subject_hidden[pairs.subject]
            hidden_sum += predicate_hidden[pairs.union]
            hidden_sum += terms.object_hidden[pairs.object]
            parts.append(self.score(hidden_sum))
        if terms.subject_logits is not None:
            parts.append(terms.subject_logits[pairs.subject])
        if terms.object_logits is not None:
            parts.append(terms.object_logits[pairs.object])
        return torch.stack(parts).sum(dim=0)
