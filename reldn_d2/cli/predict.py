"""`reldn predict`: the scene graphs of any number of images, as files, tables and drawings."""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from reldn_d2.data.images import pixel_limit, read_header
from reldn_d2.engine import Outcome, RelationPredictor, Request, parts_of
from reldn_d2.engine.folder_lock import hold, release
from reldn_d2.engine.prediction.reasons import reason_of
from reldn_d2.renamed import OLD_KEYS
from reldn_d2.scene_graphs import About
from reldn_d2.utils.counted import counted
from reldn_d2.utils.inner_paths import refuse_outside_links
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.progress import progress
from reldn_d2.utils.system_errors import extended

from .common import (
    FINISHED,
    PROBLEMS,
    InterruptedByUserError,
    find_weights,
    load_run_config,
    prepare,
)
from .prediction.boxes import BoxesFile
from .prediction.formats import SHARDS, Collected, Result, format_names, make_output, make_writers
from .prediction.identity import result_identity, sample_of
from .prediction.images import InputImage, find_images
from .prediction.names import output_names
from .prediction.places import FAILURES, RECORD
from .prediction.record import Finished, Record, ResultError
from .prediction.shards import predict_shards

# How many failures the screen shows; the file lists all.
_SHOWN = 20


def run(args: Namespace) -> int:
    """Predicts the scene graphs of the images. Returns the exit status."""
    prepare(args)
    pixel_limit()  # refuses a wrong one once, not for every image
    cfg = load_run_config(
        args, ("weights", "device", "precision", "output"), weights=find_weights(args.weights)
    ).cfg
    if SHARDS in args.format:
        return predict_shards(args, cfg)
    writers = make_writers(args.format, args.output)
    found = find_images(
        args.input or sample_of(args.weights), args.output, {*parts_of(cfg).settings(), *OLD_KEYS}
    )
    boxes = None if args.boxes is None else BoxesFile.read(args.boxes, args.annotations)
    all_outputs = [make_output(name, args.output) for name in format_names()]
    refuse_outside_links(
        args.output,
        [RECORD, *(name for x in all_outputs for name in (x.shared, *x.at_end) if name)],
        "delete it, or choose another folder with --output",
    )
    predictor = RelationPredictor(cfg)
    if boxes is not None:
        boxes.fit(found.images, predictor.thing_classes, drop_unknown=args.drop_unknown_classes)
    identity = result_identity(predictor.parts, predictor.model, args, boxes)
    about = _about(predictor, args.weights, identity)
    for writer in writers.values():
        writer.check(about)
    hold(predictor.parts, "prediction")
    try:
        record = Record(
            args.output,
            identity,
            writers,
            resume=args.resume,
            overwrite=args.overwrite,
        )
        images = _Images(found.images, record, boxes, {str(path): x for path, x in found.unreadable.items()})
        record.begin({image.key: name for image, name in zip(found.images, images.names, strict=True)})
        try:
            collected = images.predict(predictor, args, about)
            _say_summary(images, collected, args)
            _say_collected(collected)
        finally:
            record.close()
            _say_failures(images, args)
    finally:
        release("prediction")
    return PROBLEMS if images.failures else FINISHED


def _about(predictor: RelationPredictor, weights: str, identity: Mapping[str, str]) -> About:
    """What files of all images say besides the graphs. The digest tells trainings with one name apart."""
    name = os.path.basename(os.path.abspath(weights.partition("?")[0]))
    return About(predictor.vocabulary, f"{visible(name)} {identity['weights (sha256)'][:8]}")


class _Place(NamedTuple):
    """An image, the name of its files, and what graphs and tables call it."""

    image: InputImage
    name: str
    label: str


class _Images:
    """The images of a run, and what comes of them.

    Attributes:
        images: all images.
        names: name of the files of each image, without ending.
        labels: what graphs and tables call each image.
        before: number of images that an earlier try has finished.
        changed: those of them whose files have changed since.
        several: images of this try whose files hold several pictures, of which the first was taken.
        failures: path of an image or folder -> why it has no results.
    """

    def __init__(
        self,
        images: Sequence[InputImage],
        record: Record,
        boxes: BoxesFile | None,
        failures: dict[str, str],
    ) -> None:
        self.images, self.record, self.boxes, self.failures = images, record, boxes, failures
        self.names = output_names(
            [x.path for x in images], [x.name for x in images], record.kept_names, record.reserved_names
        )
        self.before, self.changed, self.several = 0, list[InputImage](), list[InputImage]()
        # An earlier run may have called another image so.
        keys = {x.key for x in images}
        others = {x.label for key, x in record.kept.items() if key not in keys or key in record.finished}
        self.labels = [x.key if x.name in others else x.name for x in images]
        self._asked: list[tuple[_Place, tuple[int, int]]] = []

    def finished(self) -> list[Finished]:
        """The images of this run whose results are written."""
        found = self.record.finished
        return [found[image.key] for image in self.images if image.key in found]

    def predict(self, predictor: RelationPredictor, args: Namespace, about: About) -> list[Collected]:
        """Predicts and writes the results of all images that are not finished, then the files of all images.

        Args:
            predictor: the predictor.
            args: parsed options.
            about: what the files of all images say besides the graphs.

        Returns:
            The files of all images.

        Raises:
            InterruptedByUserError: the user pressed Ctrl-C.
            OSError: results can't be written.
            ValueError: a file of all images can't be written, because its format can't hold the results.
        """
        try:
            left = [
                place
                for place in map(_Place, self.images, self.names, self.labels)
                if self._is_left(place.image) and self._has_boxes(place.image)
            ]
            outcomes = predictor.stream(self._requests(left), batch_size=args.batch_size, pad=args.pad)
            for outcome in progress(outcomes, "images", total=len(left)):
                self._take(outcome, args)
            self.record.commit()
            collected = self.record.finish(about)
            left_out = dict(x for one in collected for x in one.left_out.items())
            for image, reason in left_out.items():
                files = " and ".join(str(one.path) for one in collected if image in one.left_out)
                self.failures.setdefault(image, f"is not in {files}, because {reason}: rename it")
            self.record.report_failures(self.failures)
            return collected
        except KeyboardInterrupt:
            self.record.commit_interrupted()
            self.record.report_failures(self.failures)
            at_end = f", and writes {', '.join(self.record.at_end)} at the end" if self.record.at_end else ""
            raise InterruptedByUserError(
                f"{self._state()}; their results are in {args.output}, and --resume goes on with the others"
                f"{at_end}"
            ) from None
        except OSError as error:
            # On a full disk the list can't be written, either.
            with suppress(OSError):
                self.record.report_failures(self.failures)
            raise extended(error, f"{self._state()}; --resume goes on with the others") from error

    def _state(self) -> str:
        return f"finished {len(self.finished())} of {len(self.images)} images"

    def _is_left(self, image: InputImage) -> bool:
        finished = self.record.finished.get(image.key)
        if finished is None:
            return True
        self.before += 1
        if _stamp(image.path) != (finished.size, finished.changed):
            self.changed.append(image)
        return False

    def _has_boxes(self, image: InputImage) -> bool:
        """Whether boxes are there and can be used, if they are to be given."""
        if self.boxes is None:
            return True
        try:
            self.boxes.of(image)
        except ValueError as error:
            self._fail(image, error)
            return False
        return True

    def _requests(self, left: Sequence[_Place]) -> Iterator[Request]:
        for place in left:
            image = place.image
            given = None if self.boxes is None else self.boxes.of(image)
            self._asked.append((place, _stamp(image.path)))
            yield Request(image.path, given)

    def _take(self, outcome: Outcome, args: Namespace) -> None:
        (image, name, label), (size, changed) = self._asked[outcome.position]
        if outcome.prediction is None:
            self._fail(image, outcome.error)
            return
        try:
            graph = outcome.prediction.to_dict(
                top_k=args.top_k, predicates_per_pair=args.predicates_per_pair,
                score_threshold=args.score_threshold, entity_threshold=args.entity_threshold,
            )  # fmt: skip
        # Whatever is wrong with one image must not stop the others.
        except Exception as error:
            self._fail(image, error)
            return
        graph["image"]["file_name"] = label
        finished = Finished(
            image.key,
            label,
            name,
            size,
            changed,
            len(graph["relationships"]),
            outcome.prediction.clipped_boxes,
        )
        try:
            result = Result(image.path, name, graph, args.top_k, args.score_threshold)
            self.record.add(result, finished)
        except ResultError as error:
            self._fail(image, error.error)
            return
        # The file may be gone in the meantime.
        with suppress(OSError, ValueError):
            if read_header(image.path).has_more_pictures:
                self.several.append(image)

    def _fail(self, image: InputImage, error: Exception | None) -> None:
        self.failures[str(image.path)] = reason_of(str(image.path), error)
        self.record.remove_outdated(image.key)


def _stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change of a file; zeros if it can't be had."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _say_summary(images: _Images, collected: Sequence[Collected], args: Namespace) -> None:
    finished = images.finished()
    before = f" ({images.before} of them before)" if images.before else ""
    say(
        f"predicted the scene graphs of {len(finished)} of {len(images.images)} images{before}; the results "
        f"are in {visible(str(args.output))}"
    )
    if left_out := {x for one in collected for x in one.left_out}:
        some = counted(len(left_out), "of them is", "of them are")
        say(f"{some} not in the files of all images, as listed below")
    if collected and (gone := [x for x in images.record.finished if not os.path.isfile(x)]):
        say(
            f"{counted(len(gone), 'image', 'images')} of the files of all images can't be found, the first "
            f"being {visible(gone[0])}: put back what is gone, or run without --resume, which predicts only "
            "the images of --input"
        )
    empty = sum(not image.relationships for image in finished)
    if empty:
        say(
            f"{counted(empty, 'of them has', 'of them have')} no relationship with a score of "
            f"{args.score_threshold:g} or more: try a lower --score-threshold"
        )
    if images.several:
        say(
            f"{counted(len(images.several), 'file holds', 'files hold')} several pictures (animations or "
            f"pages), the first being {visible(str(images.several[0].path))}: the first picture of each was "
            "taken"
        )
    clipped = [image for image in finished if image.clipped]
    if clipped:
        boxes = counted(sum(image.clipped for image in clipped), "given box", "given boxes")
        say(
            f"clipped to the image: {boxes} in {counted(len(clipped), 'image', 'images')}, the first in "
            f"{visible(clipped[0].image)}"
        )
    if images.boxes is not None and images.boxes.unused and not images.before:
        say(
            f"{visible(str(args.boxes))} has boxes of "
            f"{counted(images.boxes.unused, 'more image', 'more images')}, not named by --input"
        )
    if images.changed:
        say(
            f"{counted(len(images.changed), 'image has', 'images have')} changed since the prediction, the "
            f"first being {visible(str(images.changed[0].path))}: the results are the old ones. Run without "
            "--resume to predict all images again"
        )


def _say_collected(collected: Sequence[Collected]) -> None:
    for one in collected:
        say(f"{visible(str(one.path))}: names of images are relative to {visible(str(one.image_root))}")
        if one.advice:
            say(one.advice)


def _say_failures(images: _Images, args: Namespace) -> None:
    for image, reason in list(images.failures.items())[:_SHOWN]:
        say(visible(f"{image} {reason}"), error=True)
    if len(images.failures) > _SHOWN:
        # A full disk may have had no room for the list.
        file = args.output / FAILURES
        listed = f", which {visible(str(file))} lists" if file.is_file() else ""
        say(f"and {len(images.failures) - _SHOWN} more{listed}", error=True)
