"""Scores a folder of predictions on a folder of annotations, for more images than fit into memory."""

from argparse import Namespace
from collections.abc import Mapping

from reldn_d2.engine.folder_lock import hold_folder, release
from reldn_d2.evaluation import PredictedGraph
from reldn_d2.evaluation.streaming import evaluate_folders
from reldn_d2.utils.plain_text import say

from .common import FINISHED, InterruptedByUserError
from .saved_predictions import check_boxes, choose_protocols, output_folder

# So many images of a file show that boxes which stick out are no pixels.
_ENOUGH_IMAGES = 20


def score(args: Namespace) -> int:
    """Scores the predictions. Returns the exit status."""
    if len(args.task) > 1:
        raise ValueError(f"--task {' '.join(args.task)}: a folder of predictions is of one task")
    task = args.task[0] if args.task else None
    protocols = choose_protocols(args, "arrays", task or "sgdet")
    output = output_folder(args)
    hold_folder(output, "evaluation")
    try:
        evaluate_folders(
            args.predictions,
            args.annotations,
            protocols,
            output,
            task=task,
            train_annotations=args.train_annotations,
            confusion_subset=args.confusion_subset,
            allow_missing=args.allow_missing,
            workers=args.processes or 1,
            restart=args.restart,
            check_boxes=check_pixels,
        )
    except KeyboardInterrupt:
        raise InterruptedByUserError("finished parts are kept; the same command goes on") from None
    finally:
        release("evaluation")
    say(f"Results in {output}")
    return FINISHED


def check_pixels(
    source: str, sizes: Mapping[str, tuple[int, int]], predictions: Mapping[str, PredictedGraph]
) -> list[str]:
    """Checks the predicted boxes of a file, see `check_boxes`."""
    return check_boxes(source, "arrays", sizes, predictions, is_sample=len(predictions) < _ENOUGH_IMAGES)
