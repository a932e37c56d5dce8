"""`reldn train`."""

from argparse import Namespace

from reldn_d2.engine import Trainer, set_up_run

from .common import FINISHED, find_weights, launched, load_run_config, prepare


def run(args: Namespace) -> int:
    """Trains the model of a config. Returns the exit status."""
    launched(train, args)
    return FINISHED


def train(args: Namespace) -> None:
    """Trains and evaluates, in one of the processes."""
    data = prepare(args)
    weights = find_weights(args.weights) if args.weights else None
    run = load_run_config(args, ("weights", "output", "device", "seed"), weights=weights, data=data)
    set_up_run(run.cfg, run.config_file, run.opts, resume=args.resume)
    trainer = Trainer(run.cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
