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

    def check_equal(self, found: "Vocabulary", source: str) -> None:
        """
        Args:
            found: must have the same names; empty lists fit everything.
            source: where it was found, for the message.

        Raises:
            ValueError: `found` has other names, or the same in another order.
        """
        for kind in ("thing_classes", "predicate_classes"):
            own, other = getattr(self, kind), getattr(found, kind)
            if own and other and own != other:
                place = next(
                    (i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b),
                    min(len(own), len(other)),
                )
                raise ValueError(
                    f"{source} has {len(other)} {kind}, the data set in use {len(own)}; they differ from number "
                    f"{place} on ({other[place : place + 1]} and {own[place : place + 1]}): use what belongs together"
                )


class RelationCheckpointer(DetectionCheckpointer):
    """Checkpointer for detectors (stage 1) and RelDN (stage 2).

    Files are written beside their final place and moved there, so that an interrupted run leaves the last complete
    checkpoint. The vocabulary travels with the weights. What Detectron2 skips with a warning is refused, but for the
    start of a detector's training from weights of another kind: a layer left at random would be silently wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        vocabulary: Vocabulary | None = None,
        run: dict[str, str] | None = None,
        complete: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: the model.
            save_dir: folder of checkpoints.
            vocabulary: of the data set in use; compared with that of what is loaded. None takes it from there.
            run: what the training run depends on; saved with the weights, for `saved_run`.
            complete: what is loaded must hold every parameter of the model, as for inference. Otherwise, as when
                training starts, a detector takes what fits, and RelDN must get a complete detector.
            kwargs: as for DetectionCheckpointer.
        """
        super().__init__(model, save_dir, **kwargs)
        self.vocabulary = vocabulary
        self.run = run
        self.complete = complete

    def save(self, name: str, **kwargs: Any) -> None:
        """As the base class, atomically, with the vocabulary and the run."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if self.vocabulary is not None:
            data["vocabulary"] = asdict(self.vocabulary)
        if self.run is not None:
            data["run"] = self.run
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        with replace_when_complete(path) as file:
            torch.save({"model": self.model.state_dict(), **data, **kwargs}, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """As the base class, atomically."""
        with replace_when_complete(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def saved_run(self) -> dict[str, str] | None:
        """`run` of the last checkpoint in the folder; None if it was saved without. Reads no weights."""
        path = self.get_checkpoint_file()
        run: dict[str, str] | None = torch.load(path, "cpu", weights_only=True, mmap=True).get("run")
        return run

    def _torch_load(self, f: str) -> Any:
        return torch.load(f, map_location="cpu", weights_only=True)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        strict = self.complete or isinstance(self.model, RelDN)
        if strict and checkpoint.get("matching_heuristics", False):
            raise ValueError(
                "these are ImageNet weights, or in another framework's format, not a trained Detectron2 detector: "
                "train one first (META_ARCHITECTURE: GeneralizedRCNN) and give its checkpoint as MODEL.WEIGHTS"
            )
        checkpoint.pop("run", None)  # whoever resumes has compared it
        saved = checkpoint.pop("vocabulary", None)
        if saved is not None:
            found = Vocabulary(**saved)
            if self.vocabulary is None:
                self.vocabulary = found
            elif strict:
                self.vocabulary.check_equal(found, "the checkpoint")
        incompatible = super()._load_model(checkpoint)
        if strict:
            _refuse_incomplete(incompatible, self.complete)
        return incompatible


def _refuse_incomplete(incompatible: Any, complete: bool) -> None:
    """Raises if shapes differ, or if the model (`complete`) or its detector did not get all its parameters."""
    if incompatible.incorrect_shapes:
        name, in_checkpoint, in_model = incompatible.incorrect_shapes[0]
        raise ValueError(
            f"{len(incompatible.incorrect_shapes)} parameters of the checkpoint do not fit the model; the first is "
            f"{name}: {in_checkpoint} in the checkpoint, {in_model} in the model. Check NUM_CLASSES, NUM_PREDICATES "
            "and the architecture in the config"
        )
    missing = [
        name
        for name in incompatible.missing_keys
        if (complete or name.startswith(_DETECTOR_PARTS)) and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} parameters of the model, the first is {missing[0]}: it must come from "
            "a model of the same architecture with the same parts switched on"
        )
    extra = [name for name in incompatible.unexpected_keys if name.startswith("relation_")]
    if complete and extra:
        raise ValueError(
            f"the checkpoint has {len(extra)} parameters that the model lacks, the first is {extra[0]}: it was trained "
            "with parts of the relation head that this config switches off"
        )
