"""Detectron2's checkpointer, with vocabularies, safe and atomic files, and errors instead of skipped weights."""

import os
from collections.abc import MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from reldn_d2.modeling import RelDN
from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.io import atomic_write

from .class_transfer import NameMatch, copy_by_name
from .compatibility import refuse_other_backbone, refuse_other_model, refuse_single_stage, refuse_unfit
from .formats import read_checkpoint
from .safe_files import read_torch
from .weight_source import WeightSource

_LISTED = 10


class RelationCheckpointer(DetectionCheckpointer):
    """Checkpointer for detectors (stage 1) and RelDN (stage 2).

    Files are written beside their final place and moved there, so that an interrupted run leaves the last complete
    checkpoint. Nothing in a file is run when it is read (`safe_files`). The vocabulary travels with the weights: a
    training that starts from a checkpoint of other classes takes rows by name. What Detectron2 skips with a warning is
    refused, but for the start of a detector's training: a layer left at random would be silently wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        vocabulary: Vocabulary | None = None,
        run: dict[str, str] | None = None,
        complete: bool = False,
        same_classes: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model: the model.
            save_dir: folder of checkpoints.
            vocabulary: of the data set in use; compared with that of what is loaded. None takes it from there.
            run: what the training run depends on; saved with the weights, for `saved_run`.
            complete: what is loaded must hold every parameter of the model, for the same classes, as for inference.
                Otherwise, as when training starts, a detector takes what fits, and RelDN must get a complete detector.
            same_classes: what is loaded must be for the same classes. Otherwise rows are copied by name.
            kwargs: as for DetectionCheckpointer.
        """
        super().__init__(model, save_dir, **kwargs)
        self.vocabulary = vocabulary
        self.run = run
        self.complete = complete
        self.same_classes = same_classes
        self._resuming = False
        self._source = WeightSource("", None, False)  # of what is being loaded

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
        with atomic_write(path) as file:
            torch.save({"model": self.model.state_dict(), **data, **kwargs}, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """As the base class, atomically."""
        with atomic_write(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def saved_run(self) -> dict[str, str] | None:
        """`run` of the last checkpoint in the folder; None if it was saved without. Reads no weights."""
        run: dict[str, str] | None = read_torch(Path(self.get_checkpoint_file()), mmap=True).get("run")
        return run

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As the base class. What a run resumes from must be complete and of the same classes.

        Raises:
            OSError, ValueError: as `load`.
        """
        self._resuming = resume and self.has_checkpoint()
        try:
            extra: dict[str, Any] = super().resume_or_load(path, resume=resume)
        finally:
            self._resuming = False
        return extra

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """As the base class.

        Args:
            path: file or URL, with options after a question mark, see `WeightSource.parse`; empty: nothing is loaded.
            checkpointables: names of what is loaded beside the model; None: all.

        Raises:
            OSError: there is no such file, or the download failed.
            ValueError: naming it: it is not what it should be, can't be read, or does not fit the model.
        """
        file = self._open(path) if path else None
        try:
            extra: dict[str, Any] = super().load("" if file is None else str(file), checkpointables)
        finally:
            self._parsed_url_during_load = None  # the base class forgets it after an error
        return extra

    def load_relation_part(self, path: str) -> None:
        """Takes everything but the detector from a RelDN checkpoint; predicates are matched by name.

        Args:
            path: as for `load`.

        Raises:
            OSError, ValueError: as `load`; or the checkpoint has no relation part, or an incomplete one.
        """
        checkpoint = self._load_file(str(self._open(path)))
        relation = {name: x for name, x in checkpoint["model"].items() if name.startswith("relation_")}
        if not relation:
            raise ValueError(
                f"{self._source.address} has no relation part: MODEL.ROI_RELATION_HEAD.WEIGHTS takes a checkpoint of "
                "RelDN; a detector's is given as MODEL.WEIGHTS"
            )
        saved = checkpoint.get("vocabulary")
        self._fit_classes(relation, saved, same_classes=False)
        weights = self.model.state_dict()
        for name in [name for name in weights if name.startswith("relation_")]:
            del weights[name]
        weights.update(relation)
        incompatible = super()._load_model({"model": weights})
        refuse_unfit(incompatible, self._source.address, complete=True, named=saved is not None)
        self.logger.info("The relation part is that of %s", self._source.address)

    def _open(self, path: str) -> Path:
        self._source = WeightSource.parse(path)
        return self._source.fetch(self.path_manager)

    def _load_file(self, filename: str) -> dict[str, Any]:
        try:
            checkpoint = read_checkpoint(Path(filename))
        except ValueError as error:
            raise ValueError(f"{error}{self._source.again(Path(filename))}") from error
        if self._source.matching_heuristics:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        source, weights = self._source.address, checkpoint["model"]
        complete = self.complete or self._resuming
        strict = complete or isinstance(self.model, RelDN)
        if strict and checkpoint.get("matching_heuristics", False):
            raise ValueError(
                f"{source} has ImageNet weights, or another framework's format, not a trained Detectron2 detector: "
                "train one first (META_ARCHITECTURE: GeneralizedRCNN) and give its checkpoint as MODEL.WEIGHTS"
            )
        if isinstance(self.model, RelDN):
            refuse_single_stage(weights, source)
        else:
            self._leave_out_relations(weights)
        checkpoint.pop("run", None)  # whoever resumes has compared it
        saved = checkpoint.pop("vocabulary", None)
        matches = self._fit_classes(weights, saved, same_classes=complete or self.same_classes)
        names = list(weights)
        incompatible = super()._load_model(checkpoint)
        refuse_other_model(incompatible, self.model, names, source)
        if strict:
            refuse_unfit(incompatible, source, complete=complete, named=saved is not None)
        else:
            self._check_backbone(incompatible, names)
        if not strict and incompatible.incorrect_shapes and saved is None:
            self.logger.warning(
                "%s does not say which classes it is of, so nothing can be copied by name: its %d parameters of other "
                "shapes stay as they were initialised (docs/checkpoints.md says how to tell it its classes)",
                source, len(incompatible.incorrect_shapes),
            )  # fmt: skip
        if isinstance(self.model, RelDN) and "thing_classes" in matches:
            self._warn_of_untrained(matches["thing_classes"])
        return incompatible

    def _check_backbone(self, incompatible: Any, names: list[str]) -> None:
        missing = refuse_other_backbone(incompatible, names, self._source.address)
        if missing:
            self.logger.warning(
                "%s is of a detector with a smaller backbone: %d parameters of this one's start as initialised",
                self._source.address, missing,
            )  # fmt: skip

    def _leave_out_relations(self, weights: MutableMapping[str, Tensor]) -> None:
        own = self.model.state_dict()
        relation = [name for name in weights if name.startswith("relation_") and name not in own]
        for name in relation:
            del weights[name]
        if relation:
            self.logger.info(
                "%s is of RelDN: its detector is taken, its %d relation parameters are not",
                self._source.address, len(relation),
            )  # fmt: skip

    def _fit_classes(
        self, weights: MutableMapping[str, Tensor], saved: Any, *, same_classes: bool
    ) -> dict[str, NameMatch]:
        """Compares the vocabulary saved with weights (None: none was) with this one's; copies rows by name, in place."""
        if saved is None:
            return {}
        source = self._source.address
        found = Vocabulary.from_saved(saved, source)
        if self.vocabulary is None:
            self.vocabulary = found
        if same_classes:
            self.vocabulary.check_equal(found, source)
        matches = copy_by_name(weights, self.model.state_dict(), found, self.vocabulary, source)
        for kind, match in matches.items():
            self.logger.info(
                "%s is for other %s: %d of %d are copied by name (%s), %d are new (%s)",
                source, kind,
                len(match.copied), len(match.copied) + len(match.new), _list(match.copied),
                len(match.new), _list(match.new),
            )  # fmt: skip
        return matches

    def _warn_of_untrained(self, match: NameMatch) -> None:
        if match.new:
            self.logger.warning(
                "RelDN's detector is frozen, and %s knows nothing of %d entity classes (%s): what finds them stays "
                "UNTRAINED. Unless detections are precomputed, train stage 1 for these classes first, from the same "
                "checkpoint, then start with MODEL.WEIGHTS = that detector and, to keep what a RelDN has learnt, "
                "MODEL.ROI_RELATION_HEAD.WEIGHTS = its checkpoint",
                self._source.address, len(match.new), _list(match.new),
            )  # fmt: skip


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
