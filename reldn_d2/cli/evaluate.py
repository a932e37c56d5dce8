"""`reldn evaluate`: a model. Saved predictions are scored in `saved_predictions` and `prediction_folders`."""

from argparse import Namespace

from reldn_d2.engine import evaluate, set_up_run

from . import prediction_folders, saved_predictions
from .common import find_weights, launched, load_run_config, prepare

_OPTIONS = (
    "weights",
    "output",
    "device",
    "precision",
    "task",
    "dataset",
    "protocol",
    "confusion_subset",
    "skip_unreadable",
)


def run(args: Namespace) -> int:
    """Evaluates a model, or scores saved predictions. Returns the exit status."""
    if args.predictions is not None:
        prepare(args)
        score = saved_predictions.score if args.annotations is None else prediction_folders.score
        return score(args)
    return launched(evaluate_model, args)


def evaluate_model(args: Namespace) -> None:
    """Evaluates the model, in one of the processes."""
    data = prepare(args)
    weights = find_weights(args.weights) if args.weights else None
    if args.output is None and args.config_file is None and weights is not None:
        args.output = weights.folder  # the folder may have been moved since the training
    run = load_run_config(args, _OPTIONS, weights=weights, data=data)
    set_up_run(run.cfg, run.config_file, run.opts, eval_only=True)
    evaluate(run.cfg, tasks=args.task if len(args.task) > 1 else (), restart=args.restart)
