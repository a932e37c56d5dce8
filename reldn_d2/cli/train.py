"""`reldn train`."""

from argparse import Namespace
from pathlib import Path

from reldn_d2.data import RegisteredData
from reldn_d2.engine import Trainer, load_config, parts_of, set_up_run
from reldn_d2.engine.torchrun import Place
from reldn_d2.recipes import SCRATCH, STAGES, train_small

from .common import (
    InterruptedByUserError,
    find_weights,
    launched,
    load_run_config,
    prepare,
    take_overrides,
)


def run(args: Namespace) -> int:
    """Trains the model of a config, or both stages of a recipe. Returns the exit status.

    Raises:
        ValueError: torchrun has started several processes, but a recipe trains in one.
    """
    place = Place.of_environment()
    if args.recipe and place is not None and place.count > 1:
        raise ValueError(
            f"--recipe trains in one process, and torchrun has started {place.count}: start without torchrun"
        )
    return launched(train, args)


def train(args: Namespace) -> None:
    """Trains and evaluates, in one of the processes."""
    data = prepare(args)
    if args.recipe:
        assert data is not None  # the parser refuses a recipe without --data
        train_recipe(args, data)
        return
    weights = find_weights(args.weights) if args.weights else None
    run = load_run_config(
        args, ("weights", "output", "device", "precision", "seed"), weights=weights, data=data
    )
    set_up_run(run.cfg, run.config_file, run.opts, rate=run.rate, resume=args.resume)
    trainer = Trainer(run.cfg)
    trainer.resume_or_load(resume=args.resume)
    try:
        trainer.train()
    except KeyboardInterrupt:
        raise InterruptedByUserError(_what_is_done(trainer)) from None


def _what_is_done(trainer: Trainer) -> str:
    done = f"{trainer.iter} of {trainer.max_iter} iterations are done"
    if not trainer.checkpointer.has_checkpoint():
        return f"{done}; no checkpoint was saved yet"
    last = trainer.checkpointer.get_checkpoint_file()
    return f"{done}; the last checkpoint is {last}, and --resume goes on from it"


def train_recipe(args: Namespace, data: RegisteredData) -> None:
    """Trains both stages on own data."""
    known = parts_of(load_config("scenes/reldn.yaml")).settings()  # every config in YAML has these keys
    opts = take_overrides(args, known, python=False)
    is_named = args.weights and args.weights != SCRATCH
    train_small(
        data,
        output=args.output or Path("output", args.data.stem),
        weights=find_weights(args.weights).address if is_named else args.weights,
        stages=args.stages or STAGES,
        resume=args.resume,
        device=args.device,
        opts=[
            *opts,
            *([] if args.seed is None else ["SEED", str(args.seed)]),
            *([] if args.precision is None else ["MODEL.RELDN_PRECISION", args.precision]),
        ],
    )
