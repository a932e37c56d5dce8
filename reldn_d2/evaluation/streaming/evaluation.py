"""`evaluate_folders`: scores a folder of predictions on a folder of annotations, part by part.

Each part is matched on its own, in one of several processes, and its records are saved. A killed evaluation
goes on with the parts that are missing. The numbers are computed from the records of all parts in the order
of ids, so they depend neither on the files nor on the processes: they are those of `evaluate_graphs`, bit for
bit.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import reldn_d2
from reldn_d2.utils.io import digest
from reldn_d2.utils.progress import progress
from reldn_d2.utils.shards import ShardFolder, differences, places

from ..columns import ChosenParts
from ..graph_metrics import NOTHING_TO_EVALUATE, with_suffix
from ..io.annotations import load_annotations
from ..protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult
from ..protocols.registry import resolve_protocols, streaming_protocols
from ..scorer import CONFUSABLE, report
from ..training_split import TrainingSplit, join_training_splits, training_split
from ..triplet_graphs import repeats_note
from .folders import EvaluatedFolders, Part, join, read_folders
from .matching import BoxCheck, Matching
from .records import RecordFiles, SavedColumns, read_some, records_path
from .workers import in_processes

#: Folder in the output folder that has the records of an evaluation that has not ended.
UNFINISHED = "unfinished"
_NAMED = 10  # differences that a message names
_logger = logging.getLogger(__name__)


def evaluate_folders(
    predictions: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    protocols: Sequence[str | EvaluationProtocol[Any]],
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    train_annotations: str | os.PathLike[str] | None = None,
    confusion_subset: bool = False,
    allow_missing: bool = False,
    workers: int = 1,
    restart: bool = False,
    check_boxes: BoxCheck | None = None,
) -> OrderedDict[str, dict[str, float]]:
    """Score predictions that don't fit into memory, and write the files of `io.results`.

    Memory holds one file of annotations and its predictions for each process, and afterwards a few numbers of
    each image. If it is stopped, the same call goes on with the parts that are missing.

    Args:
        predictions: folder of prediction files (`PredictionShardWriter`, `save_predictions`). See
            `folders.read_folder` for the order of the images.
        annotations: folder of annotation files (`AnnotationShardWriter`, `save_annotations`). The files may
            have other images than the prediction files; each is one part of the work.
        protocols: names of protocols, or protocols with other settings like `reldn(range(1, 71))`.
        output: folder for the results. Until the end, it has a folder `unfinished`.
        task: the task that the predictions must be of; None: that of their files.
        train_annotations: folder of annotation files of the training split, for zero-shot recall and groups
            of predicates.
        confusion_subset: report every protocol a second time, on the images with a confusable case.
        allow_missing: count an image without prediction as an image where nothing was found.
        workers: number of processes. With more than one, a script needs `if __name__ == "__main__":` around
            what it does, since each process reads the script again.
        restart: delete what an earlier call has left, in place of going on.
        check_boxes: see `matching.BoxCheck`; for sgdet, where boxes are predicted.

    Returns:
        See `DatasetScorer.score`.

    Raises:
        FileNotFoundError: a folder is not there or is empty.
        ValueError: see `read_folders`, `join`, `resolve_protocols` and `Matching.match`; a protocol is no
            `StreamingProtocol`; the output folder has records of another evaluation; or there is no annotated
            relationship.
        OSError: files can't be read or written, or a process was ended from outside.
    """
    folders = read_folders(predictions, annotations, train_annotations, task)
    names = folders.vocabulary.predicate_classes
    resolved = streaming_protocols(resolve_protocols(protocols, folders.task, names))
    parts = join(folders.annotated, folders.predicted, allow_missing=allow_missing)
    identity = {
        "version of reldn_d2": reldn_d2.__version__,
        "protocols": " ".join(protocol.name for protocol in resolved),
        "settings of the protocols (sha256)": digest(map(repr, resolved))[:16],
        "confusion subset": str(confusion_subset),
        **folders.identity(),
    }
    folder = ShardFolder(Path(output) / UNFINISHED, RecordFiles())
    done = _finished(folder, identity, restart=restart)
    missing = [part for part in parts if part.number not in done]
    if done:
        _logger.info(
            "%d of %d parts were compared before (%s); the others follow", len(done), len(parts), folder.path
        )
    split = EvaluatedSplit(
        names, _training_split(folders), len(folders.vocabulary.thing_classes), folders.task
    )
    check = check_boxes if folders.task == "sgdet" else None
    matching = Matching(folders.task, resolved, split, confusion_subset, check, identity, folder.path)
    _match(matching, missing, workers)
    results, note = _summarise(matching, [records_path(folder.path, part.number) for part in parts])
    reported = report(
        results,
        output,
        dataset_name=folders.annotated.dataset_name,
        task=folders.task,
        predicate_classes=names,
        notes=[text for text in (folders.annotated.evaluation_note, note) if text],
    )
    folder.delete()
    return reported


def _finished(folder: ShardFolder, identity: Mapping[str, str], *, restart: bool) -> set[int]:
    """The numbers of the parts whose records an earlier evaluation has saved.

    Raises:
        ValueError: they are of another evaluation, or the folder is a link.
    """
    if folder.path.is_symlink():
        raise ValueError(f"{folder.path} is a link, and files are deleted there in the end: delete the link")
    if restart:
        folder.delete()
    found = folder.read()
    for header in found.values():
        different = differences(header.identity, identity)
        if different:
            more = f"; and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
            raise ValueError(
                f"{folder.path} has the first part of another evaluation, which did not end: "
                f"{'; '.join(different[:_NAMED])}{more}. To go on with that one, evaluate as before. To drop "
                "it, add --restart. To keep both, choose another output folder (--output FOLDER)"
            )
    return {int(key[0]) for key in places(found)}


def _training_split(folders: EvaluatedFolders) -> TrainingSplit | None:
    """Count the label triplets of all training annotations, file by file."""
    if folders.trained is None:
        return None
    sizes = len(folders.vocabulary.thing_classes), len(folders.vocabulary.predicate_classes)
    parts = (
        training_split(load_annotations(file.path).truths.values(), *sizes)
        for file in progress(folders.trained.files, "training files")
    )
    return join_training_splits(parts, *sizes)


def _match(matching: Matching, parts: Sequence[Part], workers: int) -> None:
    """Match parts, and log what the check of boxes says of them."""
    warned: list[str] = []
    for warnings in progress(in_processes(matching.match, parts, workers), "parts", len(parts)):
        warned += warnings
    for warning in warned[:_NAMED]:
        _logger.warning("%s", warning)
    if len(warned) > _NAMED:
        _logger.warning("%d more files have such boxes", len(warned) - _NAMED)


def _summarise(matching: Matching, paths: Sequence[Path]) -> tuple[dict[str, ProtocolResult], str]:
    """The numbers of all protocols from the records of all parts, and a note about repeated triplets."""
    ids, related, repeats = zip(
        *(read_some(path, "image_id", "related", "repeats") for path in paths), strict=True
    )
    image_ids = np.array(list(chain.from_iterable(part.tolist() for part in ids)), dtype=np.object_)
    subsets = {"": [np.ones(len(part), dtype=np.bool_) for part in ids]}
    if matching.confusable:
        subsets[f"_{CONFUSABLE}"] = [read_some(path, "confusable")[0] for path in paths]
    results: dict[str, ProtocolResult] = {}
    for protocol in matching.protocols:
        _logger.info("protocol %s: numbers of %d images", protocol.name, len(image_ids))
        parts = [SavedColumns(path, protocol.name) for path in paths]
        for suffix, chosen in subsets.items():
            if any((rows & of_part).any() for rows, of_part in zip(chosen, related, strict=True)):
                names = image_ids[np.concatenate(chosen)].tolist()
                columns = ChosenParts(parts, chosen) if suffix else parts
                result = protocol.summarise_columns(names, columns, matching.split)
                results[f"{protocol.name}{suffix}"] = with_suffix(result, suffix)
    if not results:
        raise ValueError(NOTHING_TO_EVALUATE)
    return results, repeats_note(*map(int, np.sum(repeats, axis=0)))
