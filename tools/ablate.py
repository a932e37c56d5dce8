#!/usr/bin/env python
r"""Run a table of the paper, each line with several seeds, and write it beside the paper's numbers.

python tools/ablate.py --table 1 --config configs/scenes/reldn.yaml --seeds 3 \
    MODEL.WEIGHTS output/scenes/detector/model_final.pth
python tools/ablate.py --table 7 --seeds 1 --lines L0_VGG16 RelDN_VGG16 --num-gpus 8
python tools/ablate.py --table 9 --scores RelDN=0.320,0.332

A line is a delta: a file of configs/ablations whose settings go on top of the config and the overrides. Each
run is a training of train_net.py in OUTPUT/CONFIG/LINE/seedN, and all tables share it. Finished runs are
kept: the same command again makes only the missing runs. Exit status: 0 if all runs are finished, 1 if some
failed (the table has the others), 2 for wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ablation_jobs import execute
from ablation_report import as_json, as_markdown, challenge_table, measure
from ablation_runs import Run, check_made_with, config_name, make_run, missing_steps
from ablation_tables import ROOT, Table, read_challenge, read_table

from reldn_d2.utils.io import atomic_write

CHALLENGE = 9


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--table", type=int, choices=range(1, 10), required=True, help="number of the table in the paper")
    add("--config", type=Path, help="RelDN config that the lines change (default: that of the paper's table)")
    add("--seeds", type=int, default=3, metavar="N", help="runs of each line, with seeds 1 to N (default: 3)")
    add("--lines", nargs="+", metavar="LINE", help="some lines; an option or -- ends the list (default: all)")
    add("--output", type=Path, default=ROOT / "output" / "ablations", help="folder for runs and tables")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time; they share the cores (default: 1)")
    add("--num-gpus", type=int, default=1, metavar="N", help="GPUs of each run (default: 1)")
    scores_help = "scores that the challenge's test server gave, for table 9"
    add("--scores", nargs="+", default=[], type=_score, metavar="LINE=PUBLIC,PRIVATE", help=scores_help)
    add(
        "opts",
        nargs=argparse.REMAINDER,
        help="overrides of the config for all runs: KEY VALUE, or key=value for a Python config",
    )
    args = parser.parse_args(arguments)
    if min(args.seeds, args.jobs, args.num_gpus) < 1:
        parser.error("--seeds, --jobs and --num-gpus must be at least 1")
    if (args.table == CHALLENGE) != bool(args.scores):
        parser.error(
            f"--scores LINE=PUBLIC,PRIVATE and --table {CHALLENGE} need each other: only the test server "
            "gives the numbers of this table"
        )
    args.opts = [option for option in args.opts if option != "--"]
    is_python = args.config is not None and args.config.suffix == ".py"
    if len(args.opts) % 2 and not is_python:
        parser.error(
            f"overrides must be pairs of KEY VALUE, but these are an odd number: {' '.join(args.opts)}"
        )
    return args


def _score(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.partition("=")
    public, private = map(float, numbers.split(","))
    if not (0 <= public <= 1 and 0 <= private <= 1):
        raise ValueError(text)
    return name, (public, private)


def plan(table: Table, seeds: int, options: Sequence[str], output: Path) -> dict[str, list[Run]]:
    """The runs of each line. A line that trains nothing has one run, because no seed changes it.

    Raises:
        FileNotFoundError, ValueError: see `make_run` and `check_made_with`.
    """
    runs: dict[str, list[Run]] = {}
    for line in table.lines:
        first = make_run(line.config, line.delta, 1, options, output)
        others = range(2, seeds + 1) if first.parts.has_training else ()
        runs[line.name] = [
            first,
            *(make_run(line.config, line.delta, seed, options, output) for seed in others),
        ]
        for run in runs[line.name]:
            check_made_with(run)
    return runs


def run_table(args: argparse.Namespace) -> int:
    """Make the missing runs, then the table. Returns the exit status."""
    table = read_table(args.table, args.config, args.lines)
    runs = plan(table, args.seeds, args.opts, args.output)
    every = list(dict.fromkeys(run for line in runs.values() for run in line))
    missing = [run for run in every if next(missing_steps(run, table.needs, args.num_gpus), None)]
    print(
        f"Table {table.number}: {len(every)} runs, {len(every) - len(missing)} of them finished", flush=True
    )
    failed = execute(missing, table.needs, args.jobs, args.num_gpus)
    lines = [
        measure(table, line, [run for run in runs[line.name] if run not in failed]) for line in table.lines
    ]
    data = {}
    for run in every:
        trained, tested = ", ".join(run.parts.train_datasets), ", ".join(run.parts.test_datasets)
        data[config_name(run.config)] = f"trained on {trained}, tested on {tested}"
    # A table of several configs is written above the folders of the configs.
    folder = args.output / next(iter(data)) if len(data) == 1 else args.output
    text = as_markdown(table, lines, data)
    write(folder / f"table{table.number}.md", text)
    write(folder / f"table{table.number}.json", as_json(table, lines, data))
    print(f"\n{text}\nWritten to {folder / f'table{table.number}.md'}")
    for run, reason in failed.items():
        print(f"FAILED: {run}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def run_challenge(args: argparse.Namespace) -> int:
    """Write the table of the test server. Returns the exit status."""
    scores = dict(args.scores)
    known = read_challenge(args.table, [*scores])
    text = challenge_table(known, scores)
    write(args.output / f"table{args.table}.md", text)
    print(text)
    return 0


def write(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with atomic_write(path) as file:
        file.write(text.encode())


def main(arguments: Sequence[str]) -> int:
    """Run the command line. Returns the exit status."""
    args = parse_arguments(arguments)
    return run_challenge(args) if args.table == CHALLENGE else run_table(args)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, KeyError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept; the same command continues", file=sys.stderr)
        sys.exit(130)
