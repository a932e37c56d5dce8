"""Detectron2's checkpointer, with vocabularies, atomic files, and errors instead of skipped weights."""

import os
from dataclasses import asdict, dataclass
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from reldn_d2.files import replace_when_complete
from reldn_d2.modeling import RelDN

_DETECTOR_PARTS = ("backbone.", "proposal_generator.", "roi_heads.")


@dataclass(frozen=True)
class Vocabulary:
    """Names of the classes that a model's outputs stand for.

    Attributes:
        thing_classes: entity classes.
        predicate_classes: predicates, without the background; empty for a detector trained without them.
    """

    thing_classes: list[str]
    predicate_classes: list[str]

    def check_equal(self, saved: "Vocabulary") -> None:
        """
        Raises:
            ValueError: `saved` names other classes, or the same in another order.
        """
        for kind in ("thing_classes", "predicate_classes"):
            own, other = getattr(self, kind), getattr(saved, kind)
            if own and other and own != other:
                place = next(
                    (i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b),
                    min(len(own), len(other)),
                )
                raise ValueError(
                    f"the checkpoint was trained with {len(other)} {kind}, the data set has {len(own)}; they differ "
                    f"from number {place} on ({other[place : place + 1]} in the checkpoint, "
                    f"{own[place : place + 1]} in the data set): use the data set or the checkpoint that belongs "
                    "to the other"
                )


class RelationCheckpointer(DetectionCheckpointer):
    """Checkpointer for detectors (stage 1) and RelDN (stage 2).

    Files are written beside their final place and moved there, so that an interrupted run leaves the last complete
    checkpoint. The vocabulary travels with the weights. Loading into RelDN is strict where a detector may be lenient:
    a frozen detector with a skipped layer would be silently wrong.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, vocabulary: Vocabulary | None = None, **kwargs: Any
    ) -> None:
        """
        Args:
            model: the model.
            save_dir: folder of checkpoints.
            vocabulary: of the data set in use; compared with that of what is loaded. None takes it from there.
            kwargs: as for DetectionCheckpointer.
        """
        super().__init__(model, save_dir, **kwargs)
        self.vocabulary = vocabulary

    def save(self, name: str, **kwargs: Any) -> None:
        """As the base class, atomically and with the vocabulary."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if self.vocabulary is not None:
            data["vocabulary"] = asdict(self.vocabulary)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        with replace_when_complete(path) as file:
            torch.save({"model": self.model.state_dict(), **data, **kwargs}, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """As the base class, atomically."""
        with replace_when_complete(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def _torch_load(self, f: str) -> Any:
        return torch.load(f, map_location="cpu", weights_only=True)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        strict = isinstance(self.model, RelDN)
        if strict and checkpoint.get("matching_heuristics", False):
            raise ValueError(
                "these are ImageNet weights, or in another framework's format: RelDN starts from a trained Detectron2 "
                "detector. Train one first (META_ARCHITECTURE: GeneralizedRCNN) and give its checkpoint as "
                "MODEL.WEIGHTS"
            )
        saved = checkpoint.pop("vocabulary", None)
        if saved is not None:
            found = Vocabulary(**saved)
            if self.vocabulary is None:
                self.vocabulary = found
            elif strict:
                self.vocabulary.check_equal(found)
        incompatible = super()._load_model(checkpoint)
        if strict:
            _refuse_incomplete(incompatible)
        return incompatible


def _refuse_incomplete(incompatible: Any) -> None:
    if incompatible.incorrect_shapes:
        name, in_checkpoint, in_model = incompatible.incorrect_shapes[0]
        raise ValueError(
            f"{len(incompatible.incorrect_shapes)} parameters of the checkpoint do not fit the model; the first is "
            f"{name}: {in_checkpoint} in the checkpoint, {in_model} in the model. Check NUM_CLASSES, NUM_PREDICATES "
            "and the architecture in the config"
        )
    missing = [name for name in incompatible.missing_keys if name.startswith(_DETECTOR_PARTS)]
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} parameters of the detector, the first is {missing[0]}: give a "
            "detector of the same architecture as MODEL.WEIGHTS"
        )
