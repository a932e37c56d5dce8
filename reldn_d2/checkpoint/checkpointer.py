"""Detectron2's checkpointer with vocabularies, safe files, and errors instead of skipped weights."""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import Tensor, nn

from reldn_d2.modeling import PublishedRelDN, RelDN
from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import extended, megabytes

from .class_transfer import ClassDependence, NameMatch, copy_by_name
from .compatibility import (
    refuse_other_backbone,
    refuse_other_model,
    refuse_other_pixels,
    refuse_single_stage,
    refuse_unfit,
)
from .content_digest import DIGEST, content_digest
from .finite import FiniteWeights, NotFiniteError, listed
from .formats import CONVENTIONS, read_checkpoint
from .predicate_tables import adopt_forms, adopt_lengths
from .safe_files import last_checkpoint_in, read_torch
from .weight_source import WeightSource

_LISTED = 10
# In what the conventions of the authors' code differ, in words.
_DIFFERENCES = "pixels, clipping, first and last pixels of boxes, RoIAlign, spatial features"


class RelationCheckpointer(DetectionCheckpointer):
    """Checkpointer for detectors (stage 1) and RelDN (stage 2).

    * Files are written atomically, so an interrupted run leaves the last complete checkpoint.
    * Reading a file runs no code in it (`safe_files`).
    * The vocabulary is saved with the weights. A training that starts from a checkpoint of other classes
      copies rows by class name.
    * Weights that Detectron2 skips with a warning are errors, because a layer with random weights would be
      silently wrong. The exception is the start of a detector's training.
    * Weights that are NaN, infinite, or of another type than the model's are neither loaded nor saved.
    * A digest of the content is saved with it and compared when it is loaded. Files of others have none.

    Attributes:
        vocabulary: names of the classes, see the constructor.
        conventions: `formats.CONVENTIONS` of the loaded weights, which is saved with them; None: this
            package's, to which a training of RelDN changes them.
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
        """Sets up saving and loading for a model.

        Args:
            model: model to save and to load into.
            save_dir: folder of the checkpoints.
            vocabulary: class names of the data set, compared with those of a loaded checkpoint. None: the
                checkpoint's names are used.
            run: settings and data of the training run, saved with the weights, for `saved_run`.
            complete: whether a checkpoint must contain every parameter of the model, for the same classes, as
                inference needs. If not, as at the start of a training, a detector loads the parameters that
                fit, and RelDN needs a complete detector.
            same_classes: whether a checkpoint must be for the same classes. If not, rows are copied by name.
            kwargs: further arguments of DetectionCheckpointer.
        """
        super().__init__(model, save_dir, **kwargs)
        self.vocabulary = vocabulary
        self.run = run
        self.complete = complete
        self.same_classes = same_classes
        self.conventions: str | None = None
        self._finite = FiniteWeights(self.model)
        self._resuming = False
        self._source = WeightSource("", None, False)  # of the checkpoint that is being loaded

    def save(self, name: str, *, tag_last: bool = True, **kwargs: Any) -> None:
        """Saves a checkpoint as the base class does, but atomically and with the vocabulary and the run.

        Args:
            name: name of the file, without the ending.
            tag_last: whether it is the last checkpoint, from which the run would be resumed.
            kwargs: further values to save.

        Raises:
            NotFiniteError: weights are NaN or infinite. Earlier checkpoints stay as they are.
            OSError: the file can't be written; an older one of this name is unchanged. The message says how
                large it is.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        weights = self.model.state_dict()
        path = os.path.join(self.save_dir, f"{name}.pth")
        self._refuse_to_save(weights, path)
        data = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        if self.vocabulary is not None:
            data["vocabulary"] = asdict(self.vocabulary)
        if self.run is not None:
            data["run"] = self.run
        if self.conventions is not None:
            data[CONVENTIONS] = self.conventions
        self.logger.info("Saving checkpoint to %s", path)
        content = {"model": weights, **data, **kwargs}
        content[DIGEST] = content_digest(content)
        try:
            with atomic_write(path) as file:
                torch.save(content, file)
        except OSError as error:
            needed = megabytes(_size_of(content))
            raise extended(error, f"The checkpoint needs about {needed}") from error
        if tag_last:
            self.tag_last_checkpoint(os.path.basename(path))

    def _refuse_to_save(self, weights: Mapping[str, Tensor], path: str) -> None:
        broken = self._finite.broken(weights)
        if broken:
            raise NotFiniteError(
                f"{path} is not written, since {len(broken)} parameters of the model are not finite: "
                f"{listed(broken)}. Earlier checkpoints stay. A table of predicates is NaN until it is "
                "counted; others become so in a training that diverges: lower its learning rate"
            )

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Writes the name of the last checkpoint as the base class does, but atomically."""
        with atomic_write(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def get_checkpoint_file(self) -> str:
        """Returns the last checkpoint in the folder, or an empty text. It lies in this folder.

        Raises:
            FileNotFoundError, ValueError: see `last_checkpoint_in`.
        """
        file = last_checkpoint_in(Path(self.save_dir))
        return "" if file is None else str(file)

    def saved_run(self) -> dict[str, str] | None:
        """Returns `run` of the last checkpoint in the folder, or None if it has none. Reads no weights."""
        run: dict[str, str] | None = read_torch(Path(self.get_checkpoint_file()), mmap=True).get("run")
        return run

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Loads a checkpoint as the base class does. A resumed run needs a complete one for the same classes.

        Raises:
            OSError, ValueError: see `load`.
        """
        self._resuming = resume and self.has_checkpoint()
        try:
            extra: dict[str, Any] = super().resume_or_load(path, resume=resume)
        finally:
            self._resuming = False
        return extra

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Loads a checkpoint as the base class does.

        Args:
            path: file or URL, with options after a question mark (see `WeightSource.parse`). An empty path
                loads nothing.
            checkpointables: names of the objects to load besides the model; None for all.

        Raises:
            OSError: the file does not exist, or the download failed.
            ValueError: the file has another checksum, can't be read, or does not fit the model. The message
                names it.
        """
        file = self._open(path) if path else None
        try:
            extra: dict[str, Any] = super().load("" if file is None else str(file), checkpointables)
        finally:
            self._parsed_url_during_load = None  # the base class does not reset it after an error
        return extra

    def load_relation_part(self, path: str) -> None:
        """Loads the relation part of a RelDN checkpoint, not its detector. Predicates are matched by name.

        Args:
            path: see `load`.

        Raises:
            OSError: see `load`.
            ValueError: see `load`; or the checkpoint has no relation part, or an incomplete one.
        """
        checkpoint = self._load_file(str(self._open(path)))
        relation = {name: x for name, x in checkpoint["model"].items() if name.startswith("relation_")}
        if not relation:
            raise ValueError(
                f"{self._source.address} has no relation part: MODEL.ROI_RELATION_HEAD.WEIGHTS takes a "
                "checkpoint of RelDN. Give the checkpoint of a detector as MODEL.WEIGHTS"
            )
        self._take_conventions(checkpoint, starts_training=True)
        adopt_forms(relation, self.model, self._source.address)
        weights = self.model.state_dict()
        self._finite.refuse(relation, weights, self._source.address)
        saved = checkpoint.get("vocabulary")
        self._fit_classes(relation, saved, same_classes=False)
        adopt_lengths(relation, self.model, self._source.address)
        for name in [name for name in weights if name.startswith("relation_")]:
            del weights[name]
        weights.update(relation)
        incompatible = super()._load_model({"model": weights})
        refuse_unfit(incompatible, self._source.address, complete=True, named=saved is not None)
        self.logger.info("Loaded the relation part of %s", self._source.address)

    def _open(self, path: str) -> Path:
        self._source = WeightSource.parse(path)
        file = self._source.fetch(self.path_manager)
        # The base class takes the path for a URL, and would open another file.
        if urlparse(str(file))._replace(query="").geturl() != str(file):
            raise ValueError(
                f"{file}: Detectron2 can't open a path with line feeds, tabs, '#', or a space at its "
                "beginning: rename the file or the folder"
            )
        return file

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
                f"{source} has ImageNet weights, or another framework's format; it is not a trained "
                "Detectron2 detector: train one first (META_ARCHITECTURE: GeneralizedRCNN) and give its "
                "checkpoint as MODEL.WEIGHTS"
            )
        if isinstance(self.model, RelDN):
            refuse_single_stage(weights, source)
            self._take_conventions(checkpoint, starts_training=not complete and not self.same_classes)
        else:
            self._drop_relation_part(weights)
        names = list(weights)
        if checkpoint.pop("matching_heuristics", False):
            # As the base class does. Here, because only the model's names tell what types are wanted.
            weights = checkpoint["model"] = align_and_update_state_dicts(
                self.model.state_dict(), weights, c2_conversion=checkpoint.get("__author__") == "Caffe2"
            )
        adopt_forms(weights, self.model, source)
        self._finite.refuse(weights, self.model.state_dict(), source)
        checkpoint.pop("run", None)  # the engine compares it before a run is resumed
        saved = checkpoint.pop("vocabulary", None)
        matches = self._fit_classes(weights, saved, same_classes=complete or self.same_classes)
        adopt_lengths(weights, self.model, source)
        incompatible = super()._load_model(checkpoint)
        refuse_other_model(incompatible, self.model, names, source)
        if strict:
            refuse_unfit(incompatible, source, complete=complete, named=saved is not None)
        else:
            self._check_backbone(incompatible, names)
        if not strict and incompatible.incorrect_shapes and saved is None:
            self.logger.warning(
                "%s does not name its classes, so nothing can be copied by name: %d parameters whose "
                "shapes differ stay as they were initialised (docs/checkpoints.md says how to add the "
                "names)",
                source, len(incompatible.incorrect_shapes),
            )  # fmt: skip
        if isinstance(self.model, RelDN) and "thing_classes" in matches:
            self._warn_of_untrained(matches["thing_classes"])
        return incompatible

    def _take_conventions(self, checkpoint: Mapping[str, Any], *, starts_training: bool) -> None:
        """Keeps the conventions of a checkpoint, or says that it gets those of this package.

        Args:
            checkpoint: one of RelDN, or of a detector.
            starts_training: whether a training starts from it.

        Raises:
            ValueError: it was converted from the authors' code, and RelDN is to evaluate it, so its numbers
                would be those of nobody; or to train further from it with pixels of other statistics.
        """
        conventions, keeps_them = checkpoint.get(CONVENTIONS), isinstance(self.model, PublishedRelDN)
        self.conventions = conventions if keeps_them else None
        if conventions is None or keeps_them:
            return
        if starts_training:
            refuse_other_pixels(self.model, self._source.address)
            self.logger.info(
                "%s was converted from the authors' code. The training goes on with the conventions of this "
                "package, which differ from theirs in %s (docs/published_weights.md)",
                self._source.address, _DIFFERENCES,
            )  # fmt: skip
            return
        raise ValueError(
            f"{self._source.address} was converted from the authors' code and was not trained further, and "
            f"MODEL.META_ARCHITECTURE RelDN has other conventions ({_DIFFERENCES}): take MODEL."
            "META_ARCHITECTURE PublishedRelDN, with the other settings of configs/base/"
            "published_conventions.yaml (the configs in configs/published have them). To use the conventions "
            "of RelDN, train further from it first"
        )

    def _check_backbone(self, incompatible: Any, names: list[str]) -> None:
        missing = refuse_other_backbone(incompatible, names, self._source.address)
        if missing:
            self.logger.warning(
                "%s is of a detector with a smaller backbone: %d parameters of this backbone stay as they "
                "were initialised",
                self._source.address, missing,
            )  # fmt: skip

    def _drop_relation_part(self, weights: MutableMapping[str, Tensor]) -> None:
        own = self.model.state_dict()
        relation = [name for name in weights if name.startswith("relation_") and name not in own]
        for name in relation:
            del weights[name]
        if relation:
            self.logger.info(
                "%s is of RelDN: its detector is loaded, its %d relation parameters are not",
                self._source.address, len(relation),
            )  # fmt: skip

    def _fit_classes(
        self, weights: MutableMapping[str, Tensor], saved: Any, *, same_classes: bool
    ) -> dict[str, NameMatch]:
        """Compares the checkpoint's vocabulary, if it has one, with the model's; copies rows in place."""
        if saved is None:
            return {}
        source = self._source.address
        found = Vocabulary.from_saved(saved, source)
        if self.vocabulary is None:
            self.vocabulary = found
        if same_classes:
            self.vocabulary.check_equal(found, source)
        depending = ClassDependence.of(self.model)
        matches = copy_by_name(weights, self.model.state_dict(), depending, found, self.vocabulary, source)
        for kind, match in matches.items():
            self.logger.info(
                "%s is for other %s: rows of %d of %d are copied by name (%s), %d are new (%s)",
                source, kind,
                len(match.copied), len(match.copied) + len(match.new), _list(match.copied),
                len(match.new), _list(match.new),
            )  # fmt: skip
        return matches

    def _warn_of_untrained(self, match: NameMatch) -> None:
        if match.new:
            self.logger.warning(
                "RelDN's detector is frozen, and %s lacks %d entity classes (%s): the detector's outputs "
                "for them stay UNTRAINED. Unless detections are precomputed, first train stage 1 for these "
                "classes from the same checkpoint. Then start with MODEL.WEIGHTS = that detector and, to "
                "keep the trained relation part of a RelDN, MODEL.ROI_RELATION_HEAD.WEIGHTS = its "
                "checkpoint",
                self._source.address, len(match.new), _list(match.new),
            )  # fmt: skip


def _size_of(content: Any) -> int:
    """The bytes of all tensors in containers."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        return sum(map(_size_of, content.values()))
    return sum(map(_size_of, content)) if isinstance(content, list | tuple) else 0


def _list(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
