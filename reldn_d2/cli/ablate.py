"""`reldn ablate`: a table of the paper, each line with several seeds."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from reldn_d2.ablation.jobs import execute
from reldn_d2.ablation.report import as_json, as_markdown, challenge_table, measure
from reldn_d2.ablation.runs import Run, check_made_with, config_name, make_run, missing_steps
from reldn_d2.ablation.tables import Table, read_challenge, read_table
from reldn_d2.data import RegisteredData
from reldn_d2.engine import load_config, parts_of
from reldn_d2.model_zoo import find_config
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import say

from .common import FINISHED, PROBLEMS, InterruptedByUserError, find_weights, prepare, take_overrides


def plan(
    table: Table,
    seeds: int,
    options: Sequence[str],
    output: Path,
    data: RegisteredData | None,
    unsafe_yaml: Sequence[str] = (),
) -> dict[str, list[Run]]:
    """The runs of each line. A line that trains nothing has one run, because no seed changes it.

    Raises:
        FileNotFoundError, ValueError: see `make_run` and `check_made_with`.
    """
    runs: dict[str, list[Run]] = {}
    for line in table.lines:
        first = make_run(line.config, line.delta, 1, options, output, data, unsafe_yaml)
        others = range(2, seeds + 1) if first.parts.has_training else ()
        runs[line.name] = [
            first,
            *(make_run(line.config, line.delta, seed, options, output, data, unsafe_yaml) for seed in others),
        ]
        for run in runs[line.name]:
            check_made_with(run)
    return runs


def options_of(args: Namespace, config: Path) -> list[str]:
    """The overrides on the command line, and --weights as an override.

    Args:
        args: parsed options.
        config: a config of the table.
    """
    parts = parts_of(load_config(str(config), unsafe_yaml=args.allow_unsafe_yaml))
    options = take_overrides(args, parts.settings().keys(), python=parts.is_python)
    if args.weights:
        options += parts.override(parts.keys.weights, find_weights(args.weights).address)
    return options


def flags_of(args: Namespace) -> list[str]:
    """The options that the commands of all runs share: the number of GPUs, the user's data and modules."""
    data = [] if args.data is None else ["--data", str(args.data)]
    modules = [word for module in args.modules for word in ("--import", module)]
    unsafe = [word for file in args.allow_unsafe_yaml for word in ("--allow-unsafe-yaml", file)]
    return ["--num-gpus", str(args.num_gpus), *data, *modules, *unsafe]


def run_table(args: Namespace, data: RegisteredData | None) -> int:
    """Make the missing runs, then the table. Returns the exit status."""
    config = None if args.config_file is None else find_config(args.config_file)
    # Overrides may stand behind the values of --lines, so they are taken away first.
    options = options_of(args, read_table(args.table, config, None).lines[0].config)
    table = read_table(args.table, config, args.lines or None)
    runs = plan(table, args.seeds, options, args.output, data, args.allow_unsafe_yaml)
    every = list(dict.fromkeys(run for line in runs.values() for run in line))
    flags = flags_of(args)
    missing = [run for run in every if next(missing_steps(run, table.needs, flags), None)]
    say(f"Table {table.number}: {len(every)} runs, {len(every) - len(missing)} of them finished")
    failed = execute(missing, table.needs, args.jobs, flags)
    lines = [
        measure(table, line, [run for run in runs[line.name] if run not in failed]) for line in table.lines
    ]
    trained_on = {}
    for run in every:
        trained, tested = ", ".join(run.parts.train_datasets), ", ".join(run.parts.test_datasets)
        trained_on[config_name(run.config)] = f"trained on {trained}, tested on {tested}"
    # A table of several configs is written above the folders of the configs.
    folder = args.output / next(iter(trained_on)) if len(trained_on) == 1 else args.output
    text = as_markdown(table, lines, trained_on)
    write(folder / f"table{table.number}.md", text)
    write(folder / f"table{table.number}.json", as_json(table, lines, trained_on))
    say(f"\n{text}\nWritten to {folder / f'table{table.number}.md'}")
    for run, reason in failed.items():
        say(f"FAILED: {run}: {reason}", error=True)
    return PROBLEMS if failed else FINISHED


def run_challenge(args: Namespace) -> int:
    """Write the table of the test server. Returns the exit status."""
    scores = dict(args.scores)
    known = read_challenge(args.table, [*scores])
    text = challenge_table(known, scores)
    write(args.output / f"table{args.table}.md", text)
    say(text)
    return FINISHED


def write(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with atomic_write(path) as file:
        file.write(text.encode())


def run(args: Namespace) -> int:
    """Makes the missing runs and the table, or the table of the test server. Returns the exit status."""
    if args.scores:
        return run_challenge(args)
    data = prepare(args)
    try:
        return run_table(args, data)
    except KeyboardInterrupt:
        raise InterruptedByUserError("finished runs are kept; the same command continues") from None
