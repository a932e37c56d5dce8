"""`reldn evaluate`: a model. Saved predictions are scored in `saved_predictions`."""

from argparse import Namespace

from detectron2.config import CfgNode

from reldn_d2.engine import evaluate, parts_of, start_run

from . import saved_predictions
from .common import FINISHED, find_weights, launched, load_run_config, prepare


def run(args: Namespace) -> int:
    """Evaluates a model, or scores saved predictions. Returns the exit status."""
    if args.predictions is not None:
        prepare(args)
        return saved_predictions.score(args)
    args.eval_only, args.resume = True, False
    launched(evaluate_model, args)
    return FINISHED


def evaluate_model(args: Namespace) -> None:
    """Evaluates the model, in one of the processes."""
    prepare(args)
    weights = find_weights(args.weights) if args.weights else None
    if args.output is None and args.config_file is None and weights is not None:
        args.output = weights.folder  # the folder may have been moved since the training
    options = ("weights", "output", "device", "task", "dataset", "protocol", "confusion_subset")
    cfg = load_run_config(args, options, weights=weights)
    if isinstance(cfg, CfgNode):
        cfg.freeze()
    parts = parts_of(cfg)
    start_run(cfg, args, parts.output_dir, parts.device)
    evaluate(cfg)
