"""`reldn train`."""

from argparse import Namespace

from detectron2.config import CfgNode

from reldn_d2.engine import Trainer, parts_of, start_run

from .common import FINISHED, find_weights, launched, load_run_config, prepare


def run(args: Namespace) -> int:
    """Trains the model of a config. Returns the exit status."""
    args.eval_only = False
    launched(train, args)
    return FINISHED


def train(args: Namespace) -> None:
    """Trains and evaluates, in one of the processes."""
    prepare(args)
    weights = find_weights(args.weights) if args.weights else None
    cfg = load_run_config(args, ("weights", "output", "device", "seed"), weights=weights)
    if isinstance(cfg, CfgNode):
        cfg.freeze()
    parts = parts_of(cfg)
    start_run(cfg, args, parts.output_dir, parts.device)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
