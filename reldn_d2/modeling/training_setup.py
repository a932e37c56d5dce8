"""What a training of RelDN needs besides the model: the model warns at its first step of what is missing."""

import logging
from typing import Any

from detectron2.utils import comm
from torch import Tensor, nn

_DETECTOR = ("backbone.", "proposal_generator.", "roi_heads.")
logger = logging.getLogger(__name__)


class TrainingSetup:
    """What was done to a RelDN before its training. Every RelDN has one, as `training_setup`.

    A project that means a training without one of these things switches the warning off:
    `model.training_setup.warns = False`.

    Attributes:
        has_own_rates: whether `relation_optimizer_params` made the optimizer's parameter groups.
        warns: whether `warn_of_gaps` says anything.
    """

    def __init__(self) -> None:
        self.has_own_rates = False
        self.warns = True
        self._loaded: set[str] = set()  # names of the tensors that a checkpoint had
        self._is_first_step = True

    def note_loaded(self, names: set[str]) -> None:
        """Remembers the names of tensors that are loaded from a checkpoint."""
        self._loaded |= names

    def warn_of_gaps(self, model: nn.Module, batched_inputs: list[dict[str, Any]]) -> None:
        """Says in one warning what is missing, with the remedies.

        Detector and optimizer are looked at in the first step, and images in every step until the warning.

        Args:
            model: RelDN.
            batched_inputs: the batch of this step, from `RelationDatasetMapper`.
        """
        if not self.warns:
            return
        gaps = [*self._gaps_of_model(model), *_gaps_of_batch(batched_inputs)]
        self._is_first_step = False
        if not gaps:
            return
        self.warns = False
        if comm.is_main_process():
            logger.warning(
                "This training of RelDN is not the one that reldn_d2.engine.RelationTraining makes:\n%s\n"
                "If you mean it, set model.training_setup.warns = False before the training.",
                "\n".join(f"  * {gap}" for gap in gaps),
            )

    def _gaps_of_model(self, model: nn.Module) -> list[str]:
        if not self._is_first_step:
            return []
        gaps = []
        detector = [name for name, _ in model.named_parameters() if name.startswith(_DETECTOR)]
        random = [name for name in detector if name not in self._loaded]
        if random:
            gaps.append(
                f"{len(random)} of {len(detector)} parameters of the frozen detector are random, because no "
                f"checkpoint had them (for example {random[-1]}): load the checkpoint of a trained detector "
                "of the same classes, with RelationCheckpointer, which refuses others"
            )
        if any(p.requires_grad for name, p in model.named_parameters() if name.startswith(_DETECTOR)):
            gaps.append(
                "parameters of the detector require a gradient, but RelDN runs its detector without one: "
                "train the detector as stage 1 (META_ARCHITECTURE: GeneralizedRCNN)"
            )
        slow = any(name.startswith("relation_backbone.") for name, _ in model.named_parameters())
        if slow and not self.has_own_rates:
            gaps.append(
                "relation_optimizer_params did not make the optimizer's parameter groups, so "
                "SOLVER.PREDICATE_BACKBONE_LR_FACTOR has no effect: the predicate backbone learns ten times "
                "as fast as in the published recipe. Make them with "
                "reldn_d2.engine.relation_optimizer_params(model, ...)"
            )
        return gaps


def _gaps_of_batch(batched_inputs: list[dict[str, Any]]) -> list[str]:
    # An image whose relationships fell to a crop is meant to be here.
    empty = [x for x in batched_inputs if not len(x["relations"]) and not x.get("lost_relations")]
    if not empty:
        return []
    return [
        f"the batch has images without relationships ({empty[0].get('file_name', 'the first one')}): leave "
        "them out with reldn_d2.data.prepare_training_relations(dataset_dicts, name)"
    ]


def note_loaded_weights(model: Any, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Tells the model's `training_setup` what is loaded. A hook, so it works with every checkpointer."""
    names = {name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)}
    model.training_setup.note_loaded(names)
