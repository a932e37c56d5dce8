"""Evaluations that can be interrupted: they save the model's outputs, and go on with the other images.

`UnfinishedEvaluation` runs Detectron2's `inference_on_dataset` with a loader of the images that are missing
and an evaluator that sees all images, in the usual order. So the results are those of an evaluation that was
never interrupted, bit by bit, whatever the evaluator is.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
)
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import reldn_d2
from reldn_d2.data import QueryingLoader
from reldn_d2.data.chosen_batches import (
    ChosenBatches,
    ListedBatches,
    Positions,
    UnreadableImage,
    UnreadableImageError,
)
from reldn_d2.evaluation.io.shards import (
    PackedRecord,
    Shard,
    ShardWriter,
    UnsupportedValueError,
    as_array,
    output_shards,
    pack,
    read_shard,
)
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Queries
from reldn_d2.utils.io import atomic_write, digest
from reldn_d2.utils.shards import ShardHeader, differences

from .parts import RunParts
from .run_identity import fingerprint, output_settings
from .summary import INFERENCE, UNREADABLE_FILE

logger = logging.getLogger(__name__)

#: What happens to saved predictions of another evaluation: an error, or they are deleted. "restart" deletes
#: all saved predictions.
Others = Literal["refuse", "delete", "restart"]

UNFINISHED = "unfinished"
# A shard is written after so many images or seconds, which a killed evaluation loses at most, or bytes.
IMAGES, SECONDS, BYTES = 100, 20.0, 2**24
# Outputs of an image that are larger, such as the class scores of every pixel, are not saved.
_MOST_BYTES_OF_AN_IMAGE = 2**25

#: Name of the release in an identity.
VERSION = "version of reldn_d2"
# More names in an identity. The others are settings.
#: Name of the digest of the weights in an identity.
WEIGHTS = "weights (sha256)"
_TASK = "task"
_DATA_SET, _DATA, _QUERIES = "data set", "content of the data (sha256)", "questions about the images (sha256)"
_OF_A_DATA_SET = (_DATA_SET, _DATA, _QUERIES)
# Whether a training made the shard. It makes its predictions again, so another evaluation may drop them.
_ORIGIN = "made in"
_TRAINING = "a training"
_NAMED = 10
_PLAIN = (bool, int, float, str, type(None))


def evaluation_identity(parts: RunParts, model: nn.Module) -> dict[str, str]:
    """What the outputs of a model depend on, on whatever data set: weights, task, device, version, settings.

    Args:
        parts: parts of the config.
        model: the model with its weights, not wrapped for several processes.

    Returns:
        Name -> value as text.
    """
    return {
        WEIGHTS: weights_digest(model),
        _TASK: str(getattr(model, "task", "detection")),
        "device": torch.device(parts.device).type,
        "precision": parts.precision,
        VERSION: reldn_d2.__version__,
        **output_settings(parts.settings(), python=parts.is_python),
    }


class UnfinishedEvaluation:
    """An evaluation on some data sets, and the predictions that earlier tries have saved.

    The folder `inference/unfinished` in the output folder has the shards. `finish` deletes it.
    """

    def __init__(
        self,
        parts: RunParts,
        model: nn.Module,
        names: Sequence[str],
        others: Others,
        tasks: Sequence[str] = (),
    ) -> None:
        """Finds what earlier tries have saved. Every process calls it.

        Args:
            parts: parts of the config.
            model: the model with its weights.
            names: the data sets.
            others: what happens to predictions of other weights, data, settings or another task.
            tasks: all tasks of an evaluation that does several in turn. Predictions of the other ones are
                left alone, and all are kept until the last task has ended.

        Raises:
            ValueError: there are predictions of another evaluation, and they may not be deleted; or the
                folder is a link.
        """
        self._parts, self._others, self._tasks = parts, others, tasks
        self._model, self._alone = model, _without_wrapper(model)
        self.folder = Path(parts.output_dir, INFERENCE, UNFINISHED)
        if self.folder.is_symlink():
            raise ValueError(
                f"{self.folder} is a link, and saved predictions are deleted in the end: delete the link"
            )
        self._shards = output_shards(self.folder)
        if others == "restart":
            self._delete()
        self._found = self._read()
        self._settle(self._found, self._different_runs(names))

    def _read(self) -> dict[Path, ShardHeader]:
        """The identity and the keys of every shard. The values are read again when they are needed."""
        others = self._other_tasks()
        return {path: x for path, x in self._shards.read().items() if x.identity.get(_TASK) not in others}

    def _other_tasks(self) -> list[str]:
        return [task for task in self._tasks if task != self._alone.task]

    @cached_property
    def identity(self) -> dict[str, str]:
        """See `evaluation_identity`."""
        return evaluation_identity(self._parts, self._alone)

    def _different_runs(self, names: Sequence[str]) -> list[str]:
        for shard in self._found.values():
            saved = {
                key: text for key, text in shard.identity.items() if key not in (*_OF_A_DATA_SET, _ORIGIN)
            }
            different = differences(saved, self.identity)
            if shard.identity.get(_DATA_SET) not in names:
                different.append(f"{_DATA_SET} was {shard.identity.get(_DATA_SET)}, now {', '.join(names)}")
            if different:
                return different
        return []

    def _settle(self, found: Mapping[Path, ShardHeader], different: list[str]) -> None:
        """Refuses or deletes shards if a process found differences. All processes do the same."""
        everywhere = comm.all_gather(different)
        first = next(filter(None, everywhere), None)
        if first is None:
            return
        more = f"; and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
        what = f"predictions of another evaluation, which did not end: {'; '.join(first[:_NAMED])}{more}"
        needed = any(shard.identity.get(_ORIGIN) != _TRAINING for shard in found.values())
        if self._others == "refuse" and any(comm.all_gather(needed)):
            other = self._parts.override(self._parts.keys.output_dir, "FOLDER")
            raise ValueError(
                f"{self.folder} has {what}. To go on with that one, evaluate as before. To drop its "
                "predictions, add --restart to `reldn evaluate`, or delete this folder. To keep both, choose "
                f"another output folder ({' '.join(other)})"
            )
        logger.info("%s had %s. They are deleted", self.folder, what)
        self._delete(found)
        self._found = {path: shard for path, shard in self._found.items() if path not in found}

    def _delete(self, paths: Iterable[Path] | None = None) -> None:
        """Deletes some shards, or all. On a shared disk all processes may try at once."""
        comm.synchronize()
        self._shards.delete(paths)
        comm.synchronize()

    def finish(self) -> None:
        """Deletes the saved predictions, after the results were written. Every process calls it.

        Of several tasks, only the last one does.
        """
        if not self._tasks or self._alone.task == self._tasks[-1]:
            self._delete()

    def evaluate(
        self, name: str, loader: Any, evaluator: DatasetEvaluator, queries: Mapping[str, Queries] | None
    ) -> dict[str, Any]:
        """Evaluates the model on a data set, and goes on where an earlier try ended.

        Args:
            name: name of the data set.
            loader: its test loader. Only the batches of Detectron2's loader can be known in advance; with
                another one, the evaluation starts anew.
            evaluator: its evaluator.
            queries: what the evaluator asks.

        Returns:
            Result of `evaluator.evaluate()`.

        Raises:
            ValueError: an image is unreadable, and such images are not to be excluded; all images are
                unreadable; or unreadable images are to be excluded, but the loader or the evaluator can't.
        """
        inner = loader.loader if isinstance(loader, QueryingLoader) else loader
        listed, skip = ListedBatches.of(inner), self._parts.skip_unreadable
        if skip:
            self._check_skip(name, listed, evaluator)
        if listed is None:
            logger.info("%s has a loader of its own: if this evaluation is stopped, it starts anew", name)
            if comm.is_main_process():
                _report([], 0, self.folder.parent / name / UNREADABLE_FILE)
            results: dict[str, Any] = inference_on_dataset(self._model, loader, evaluator)
            return results
        places = self._saved_batches(name, listed, queries)
        rest = ChosenBatches(
            listed, [batch for batch in listed.batches if batch not in places], skip_unreadable=skip
        )
        writer = ShardWriter(
            self.folder,
            lambda: self._identity(name, listed, queries),
            rank=comm.get_rank(),
            images=IMAGES,
            seconds=SECONDS,
            size=BYTES,
        )
        joined = _JoinedEvaluator(evaluator, listed, rest, places, writer, Path(self.folder.parent, name))
        chosen = loader.with_loader(rest) if isinstance(loader, QueryingLoader) else rest
        try:
            results = inference_on_dataset(self._model, chosen, joined)
        except UnreadableImageError as error:
            writer.flush()
            raise ValueError(self._unreadable(error.image, name, joined.saved)) from error
        return results

    def _check_skip(self, name: str, listed: ListedBatches | None, evaluator: DatasetEvaluator) -> None:
        key = self._parts.keys.skip_unreadable
        if listed is None:
            raise ValueError(f"{key} needs Detectron2's test loader, but {name} has a loader of its own")
        unable = _unable_to_exclude(evaluator)
        if unable is not None:
            raise ValueError(
                f"{key} needs an evaluator that can exclude images, but {type(unable).__name__} of {name} "
                "has no method exclude(image_ids): add one, or switch the key off"
            )

    def _identity(
        self, name: str, listed: ListedBatches, queries: Mapping[str, Queries] | None
    ) -> dict[str, str]:
        asked = queries or {}
        return {
            _DATA_SET: name,
            _DATA: fingerprint(listed.dataset_dicts)[:16],
            _QUERIES: digest(
                part for i in sorted(asked) for part in (i, asked[i].pairs.numpy(), asked[i].triplets.numpy())
            )[:16],
            **self.identity,
            _ORIGIN: _TRAINING if self._others == "delete" else "an evaluation",
        }

    def _saved_batches(
        self, name: str, listed: ListedBatches, queries: Mapping[str, Queries] | None
    ) -> dict[Positions, Path]:
        """The shard of each saved batch that this process would make, with exactly the same images."""
        found = {path: x for path, x in self._found.items() if x.identity[_DATA_SET] == name}
        different: list[str] = []
        if found:
            current = self._identity(name, listed, queries)
            every = (differences({**x.identity, _ORIGIN: current[_ORIGIN]}, current) for x in found.values())
            different = next(filter(None, every), [])
        self._settle(found, different)
        saved = {key: path for path, shard in found.items() if path in self._found for key in shard.keys}
        places = {batch: saved[batch] for batch in listed.batches if batch in saved}
        if places:
            logger.info(
                "%s: %d of %d images were predicted before (%s); the others follow",
                name,
                sum(map(len, places)),
                sum(map(len, listed.batches)),
                self.folder,
            )
        return places

    def _unreadable(self, image: UnreadableImage, name: str, saved: int) -> str:
        key = self._parts.keys.skip_unreadable
        of_process = " of this process" if comm.get_world_size() > 1 else ""
        option = " ".join(self._parts.override(key, True))
        return (
            f"{image.reason.rstrip('.')}. It is image {image.image_id} of {name}. The {saved} predictions "
            f"before it{of_process} are kept in {self.folder}, and the same evaluation goes on from there. "
            f"To exclude unreadable images, add {option} (--skip-unreadable of `reldn evaluate`)"
        )


class _JoinedEvaluator(DatasetEvaluator):
    """Gives an evaluator saved and new outputs in the order of the loader, and saves the new ones.

    Attributes:
        saved: number of images of this process whose outputs are saved.
    """

    def __init__(
        self,
        inner: DatasetEvaluator,
        listed: ListedBatches,
        loader: ChosenBatches,
        places: Mapping[Positions, Path],
        writer: ShardWriter,
        folder: Path,
    ) -> None:
        """Joins an evaluator with saved outputs.

        Args:
            inner: the evaluator.
            listed: all batches of this process.
            loader: loader of the batches that are not saved.
            places: batch -> its shard.
            writer: writer of new shards.
            folder: folder of the data set, where the list of unreadable images is written.
        """
        self._inner, self._listed, self._loader = inner, listed, loader
        self._places, self._folder = places, folder
        self._writer, self._can_save = writer, True
        self._next = 0
        self._open: tuple[Path, Shard] | None = None

    @property
    def saved(self) -> int:
        return sum(map(len, self._places)) + self._writer.count

    def reset(self) -> None:
        """Start with the first batch."""
        self._next = 0
        self._inner.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Pass on the saved outputs of the batches before this one, then this one, and save it."""
        self._replay(until=self._loader.current)
        # An evaluator may change the outputs, and may refuse them.
        record = self._packed(inputs, outputs) if self._loader.complete else None
        self._inner.process(inputs, outputs)
        self._next += 1
        if record is not None:
            self._writer.add(record, len(self._loader.current))

    def _replay(self, until: Positions | None = None) -> None:
        batches = self._listed.batches
        while self._next < len(batches) and batches[self._next] != until:
            batch = batches[self._next]
            self._next += 1
            path = self._places.get(batch)
            if path is None:  # no image of it is readable
                continue
            if self._open is None or self._open[0] != path:
                self._open = path, read_shard(path)
            saved = self._open[1].records[batch]
            inputs = [_SavedInput(x, missing) for x, missing in zip(*saved["inputs"], strict=True)]
            self._inner.process(inputs, saved["outputs"])

    def _packed(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> PackedRecord | None:
        """The record of a batch; None if it can't be saved, which is said once."""
        if not self._can_save:
            return None
        try:
            plain = [{key: value for key, value in x.items() if type(value) in _PLAIN} for x in inputs]
            missing = [[key for key in x if key not in kept] for x, kept in zip(inputs, plain, strict=True)]
            record = pack(self._loader.current, {"inputs": [plain, missing], "outputs": outputs})
            if len(record.data) > _MOST_BYTES_OF_AN_IMAGE * len(inputs):
                raise UnsupportedValueError(f"{len(record.data) / len(inputs) / 2**20:.0f} MB for an image")
        except UnsupportedValueError as error:
            self._can_save = False
            logger.info("Outputs have %s and are not saved: if this is stopped, it starts anew", error)
            return None
        return record

    def evaluate(self) -> Any:
        """Pass on the saved outputs that are left, and evaluate without the unreadable images."""
        self._replay()
        self._open = None
        if self.saved:
            self._writer.flush()  # so that only the scores are computed again if that fails
        unreadable = [image for images in comm.all_gather(self._loader.unreadable) for image in images]
        images = self._listed.dataset_dicts
        if len(unreadable) == len(images):
            raise ValueError(f"all {len(images)} images are unreadable. The first: {unreadable[0].reason}")
        if comm.is_main_process():
            _report(unreadable, len(images), self._folder / UNREADABLE_FILE)
        if not unreadable:
            return self._inner.evaluate()
        excluded = {image.image_id for image in unreadable}
        return _evaluate_without(
            self._inner, excluded, [x["image_id"] for x in images if x["image_id"] not in excluded]
        )


class _SavedInput(dict[str, Any]):
    """The plain values of an input. To read what was not saved, such as the picture, is an error."""

    def __init__(self, values: Mapping[str, Any], missing: Iterable[str]) -> None:
        super().__init__(values)
        self._missing = frozenset(missing)

    def _check(self, key: object) -> None:
        if key in self._missing:
            raise ValueError(
                f"the evaluator reads {key!r} of an input whose prediction was saved by an interrupted "
                "evaluation, and only numbers and texts are saved: add --restart to `reldn evaluate`, or "
                "delete the folder of the unfinished evaluation"
            )

    def __missing__(self, key: str) -> Any:
        self._check(key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        self._check(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._check(key)
        return super().get(key, default)


def _without_wrapper(model: nn.Module) -> nn.Module:
    alone: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return alone


def weights_digest(model: nn.Module) -> str:
    """The first 16 digits of the SHA-256 of a model's weights, on whatever device they are."""
    if isinstance(model, RelDN) and model.is_only_counted() and model.task == "prdcls":
        model = model.relation_head  # its detector does not run, and has random weights
    tensors = {name: x for name, x in model.state_dict().items() if isinstance(x, Tensor)}
    return digest(part for name, x in tensors.items() for part in (name, str(x.dtype), as_array(x)))[:16]


def _unable_to_exclude(evaluator: DatasetEvaluator) -> DatasetEvaluator | None:
    """An evaluator that can't exclude images; None if all can."""
    if isinstance(evaluator, DatasetEvaluators):
        return next(filter(None, map(_unable_to_exclude, evaluator._evaluators)), None)
    able = isinstance(evaluator, COCOEvaluator) or callable(getattr(evaluator, "exclude", None))
    return None if able else evaluator


def _evaluate_without(evaluator: DatasetEvaluator, excluded: set[Any], others: list[Any]) -> Any:
    """Results of an evaluator without some images, for every kind that `_unable_to_exclude` accepts."""
    if isinstance(evaluator, DatasetEvaluators):
        results: dict[str, Any] = {}
        for one in evaluator._evaluators:
            results |= _evaluate_without(one, excluded, others) or {}
        return results
    if isinstance(evaluator, COCOEvaluator):
        return evaluator.evaluate(img_ids=others)
    evaluator.exclude(excluded)
    return evaluator.evaluate()


def _report(unreadable: Sequence[UnreadableImage], images: int, path: Path) -> None:
    """Lists the unreadable images in the log and in a file. Without any, an older file is removed."""
    if not unreadable:
        path.unlink(missing_ok=True)
        return
    listed = [{"image_id": x.image_id, "file_name": x.file_name, "reason": x.reason} for x in unreadable]
    with atomic_write(path) as file:
        file.write(json.dumps({"images": images, "unreadable": listed}, indent=1).encode())
    first = "; ".join(f"image {x.image_id}: {x.reason}" for x in unreadable[:_NAMED])
    logger.warning(
        "%d of %d images are unreadable and excluded (%s lists them): %s",
        len(unreadable),
        images,
        path,
        first,
    )
