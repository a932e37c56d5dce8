"""What the commands share: running and errors, weights, configs and their overrides, registered data."""

import logging
import os
import re
import signal
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from detectron2.engine import launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from reldn_d2.checkpoint.finite import NotFiniteError
from reldn_d2.data import RegisteredData, register_data_file
from reldn_d2.engine import (
    check_num_gpus,
    fit_to_data,
    import_data_sets,
    load_config,
    override_config,
    parts_of,
    setup_console,
)
from reldn_d2.engine.config_files import similar_keys
from reldn_d2.engine.parts import CONFIG_FILE, Config
from reldn_d2.engine.pretrained import (
    PretrainedFolder,
    find_pretrained,
    is_hub_id,
    is_saved_model,
    usual_device,
    weights_in,
)
from reldn_d2.engine.rate import Rate
from reldn_d2.engine.torchrun import Place, ended, in_words, joined, unreached
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.model_zoo import NO_PKG_RESOURCES, get_detectron2_config_file, zoo_names
from reldn_d2.renamed import OLD_KEYS, present_dataset_name
from reldn_d2.utils.parent import end_with_parent
from reldn_d2.utils.plain_text import Lines, say, visible
from reldn_d2.utils.system_errors import describe, is_explained, remedy

logger = logging.getLogger(__name__)

#: Exit statuses of commands; the parser has the same for wrong usage.
FINISHED, PROBLEMS, ERROR, INTERRUPTED = 0, 1, 2, 130
#: Errors that a command explains in one line.
EXPECTED = (OSError, ValueError, NotFiniteError)

# Options whose attribute of `KeyNames`, the config key that they set, has another name.
_KEY_OF = {"output": "output_dir", "dataset": "test_datasets", "protocol": "protocols"}
# One of `HARMLESS_WARNINGS`, as Python's environment variable takes it.
_WARNING_OF_IMPORTS = "ignore:`torch.jit.script` is deprecated:FutureWarning"
# How PyTorch begins the text of an error in a worker of a data loader. Its last line is the error itself.
_FROM_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n")
# Between the processes of a command, an expected error travels in the text of an exception.
_MARK = "reldn_d2 expected error: "


class InterruptedByUserError(Exception):
    """The user stopped the command. The message says what is done."""


class ExpectedError(Exception):
    """An expected error in one of several processes."""


def run_command(module: str, args: Namespace, early: Iterable[warnings.WarningMessage] = ()) -> int:
    """Runs a command of `reldn`, see `exit_status`.

    Args:
        module: module of this package, with a function `run(args) -> int`.
        args: parsed options.
        early: warnings of imports. Harmless ones are not shown, see `reldn_d2.engine.console`.

    Returns:
        The exit status.
    """
    setup_console()
    for warning in early:
        warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
    return exit_status(lambda: import_module(f"{__package__}.{module}").run(args), verbose=args.verbose)


def exit_status(work: Callable[[], int], *, verbose: bool) -> int:
    """Does some work, and turns expected errors and Ctrl-C into one line and an exit status.

    Args:
        work: function that returns an exit status.
        verbose: whether the traceback of an error is shown, too.

    Returns:
        The exit status.

    Raises:
        Exception: an error that is not expected, with its traceback.
    """
    try:
        return work()
    except (InterruptedByUserError, KeyboardInterrupt) as interrupt:
        say(f"interrupted: {visible(str(interrupt)) or 'finished results are kept'}", error=True)
        return INTERRUPTED
    except ProcessRaisedException as error:
        _, mark, text = str(error).rpartition(_MARK)
        text = text if mark else unreached(str(error)) or ended(str(error))
        if not text:
            raise
        return _report(text.strip(), str(error) if verbose else "")
    except ProcessExitedException as error:
        message = (
            f"process {error.error_index} {how_ended(error)}; where memory is short, the system ends "
            "processes. A training goes on from its last checkpoint with --resume, an evaluation by the same "
            "command"
        )
        return _report(message, traceback.format_exc() if verbose else "")
    except EXPECTED as error:
        return _report(message_of(error), traceback.format_exc() if verbose else "")


def how_ended(error: ProcessExitedException) -> str:
    """How one of several processes has ended without an error: by which signal, or with which status."""
    code = error.exit_code
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _report(message: str, details: str) -> int:
    say(f"{details}error: {message}", error=True)
    return ERROR


def message_of(error: BaseException) -> str:
    """The message of an error, for errors of the system with the file and what helps.

    It is one line, also if a name in it holds line feeds, unless this package has made `Lines` of it.
    """
    several = error.args[0] if error.args else ""
    return several if isinstance(several, Lines) else visible(_message_of(error))


def _message_of(error: BaseException) -> str:
    if _FROM_WORKER.match(str(error)):
        return str(error).rstrip().splitlines()[-1].partition(": ")[2]
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if not isinstance(error, OSError) or error.errno is None or is_explained(error):
        return str(error)
    if error.filename is None:
        return f"{error.strerror}: {remedy(error)}"
    return describe(error, os.fsdecode(error.filename), "used")


def launched(work: Callable[[Namespace], object], args: Namespace) -> int:
    """Calls `work(args)` in as many processes as the options ask for; in this one if torchrun has started it.

    Args:
        work: function of a module, which other processes can import.
        args: parsed options, with those of `add_launch`.

    Returns:
        The exit status `FINISHED`.

    Raises:
        ValueError: see `check_num_gpus` and `joined`; or the options do not fit each other, or torchrun.
        ConnectionError: another process of a run that torchrun has started has ended, or can't be reached.
        ProcessRaisedException: one of several processes failed.
    """
    several = args.num_gpus * args.num_machines > 1
    # Detectron2's own parser has no --dist-timeout.
    seconds = getattr(args, "dist_timeout", DEFAULT_TIMEOUT.total_seconds())
    timeout = timedelta(seconds=seconds)
    place = Place.of_environment()
    if place is not None:
        if several or args.machine_rank:
            raise ValueError(
                "torchrun has started this process, and its --nnodes and --nproc-per-node say how many there "
                "are: leave out --num-gpus, --num-machines and --machine-rank, or start without torchrun"
            )
        with in_words(), joined(place, timeout):
            work(args)
        return FINISHED
    if not 0 <= args.machine_rank < args.num_machines:
        raise ValueError(
            f"--machine-rank {args.machine_rank} is not from 0 to {args.num_machines - 1}, the last of "
            "--num-machines"
        )
    check_num_gpus(args.num_gpus)
    if several:
        # The processes import Detectron2 before this package can filter what is warned of.
        given = os.environ.get("PYTHONWARNINGS")
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [given, _WARNING_OF_IMPORTS]))
    if args.num_machines > 1:
        _check_address(args.dist_url)
        logger.info("Waits for the other machines at %s, for %d seconds at most", args.dist_url, seconds)
    # If one process fails, PyTorch warns that it ends the others. The error says enough.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    launch(
        partial(_in_process, work) if several else work,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
        timeout=timeout,
    )
    return FINISHED


def _check_address(url: str) -> None:
    """Checks the form of --dist-url: PyTorch would look at it only in the processes, after their imports."""
    try:
        parts = urlsplit(url)
        if (parts.scheme == "tcp" and parts.hostname and parts.port) or parts.scheme in ("file", "env"):
            return
    except ValueError:  # the port is no number, or too large
        pass
    raise ValueError(
        f"--dist-url {url}: give the address of the first machine as tcp://HOST:PORT, with a port that is "
        "free there, from 1 to 65535"
    )


def _in_process(work: Callable[[Namespace], object], args: Namespace) -> None:
    # PyTorch sends Ctrl-C to processes whose parent was killed. Those of a script's background ignore it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        end_with_parent()
    try:
        # On one machine, the launcher shows the error of the process that failed first.
        with in_words() if args.num_machines > 1 else nullcontext():
            work(args)
    except EXPECTED as error:
        raise ExpectedError(_MARK + message_of(error)) from error
    # The launcher leaves the group with its threads, which can abort a process that ends meanwhile.
    if distributed.is_initialized():
        distributed.destroy_process_group()


@dataclass(frozen=True)
class Weights:
    """A checkpoint that --weights names.

    Attributes:
        address: path or URL, for MODEL.WEIGHTS.
        folder: folder of the run that wrote it; None for a URL and for a model that is shared.
        shared: a saved model, or one of the model zoo or the hub: nothing is written beside it.
    """

    address: str
    folder: Path | None
    shared: PretrainedFolder | None = None

    @property
    def config_file(self) -> Path | None:
        """The config beside the checkpoint, if there is one."""
        if self.shared is not None:
            return self.shared.config_file
        path = None if self.folder is None else self.folder / CONFIG_FILE
        return path if path is not None and path.is_file() else None


def find_weights(text: str) -> Weights:
    """Finds the checkpoint that --weights names.

    Args:
        text: a file or URL, both with or without the options after "?" that MODEL.WEIGHTS takes; the folder
            of a run; a folder of `save_pretrained`, a name of the model zoo or a hub id, all three with or
            without the options "sha256", "revision" and "trust" of `find_pretrained`; or the name of a config
            in Detectron2's model zoo, such as "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", whose weights
            are downloaded.

    Raises:
        OSError: there is no such file, folder or name, or it can't be fetched.
        ValueError: "trust" is given for weights that are not of the model zoo; or see `last_checkpoint_in`
            and `find_pretrained`.
    """
    name, _, options = text.partition("?")
    path = Path(name)
    if is_saved_model(path):
        return _shared(name, options)
    is_address = "://" in name or name.endswith(".yaml")
    if "trust" in _pairs(options) and (is_address or path.exists()):
        raise ValueError(
            f"--weights {name} is no name of this package's model zoo, and --trust is only for these: leave "
            "--trust (or trust=True) out"
        )
    if "://" in name:
        return Weights(text, None)
    if path.is_dir():
        try:
            file = weights_in(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"--weights {error}") from error
        return Weights(_with_options(str(file), options), path)
    if path.is_file():
        return Weights(text, path.parent)
    if name.endswith(".yaml"):
        return Weights(_with_options(_zoo_address(name), options), None)
    if name in zoo_names() or is_hub_id(name):
        return _shared(name, options)
    raise FileNotFoundError(
        f"--weights {text}: there is no such file or folder{near_misses(name, zoo_names())}: give a "
        "checkpoint, the folder of a training or of a saved model, a name of the model zoo, a hub id, or the "
        "name of a config in Detectron2's model zoo"
    )


def _shared(name: str, options: str) -> Weights:
    """A model that `find_pretrained` finds, with the options after the question mark."""
    given = _pairs(options)
    trust = given.get("trust", "False")
    if given.keys() - {"sha256", "revision", "trust"} or trust not in ("True", "False"):
        raise ValueError(
            f"--weights {name}?{options}: after the question mark, the options of a model are "
            "sha256=DIGEST, revision=NAME and trust=True"
        )
    found = find_pretrained(
        name, revision=given.get("revision"), sha256=given.get("sha256"), trust=trust == "True"
    )
    return Weights(str(found.weights_file), None, found)


def _with_options(address: str, options: str) -> str:
    return f"{address}?{options}" if options else address


def _pairs(options: str) -> dict[str, str]:
    """The options after a question mark. A plus sign is one, as in the name of a revision."""
    pairs = (pair.partition("=") for pair in options.split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _zoo_address(name: str) -> str:
    """The URL of the weights of a config in Detectron2's model zoo."""
    try:
        get_detectron2_config_file(name)  # its error shows similar names
        from detectron2 import model_zoo  # needs pkg_resources

        address: str = model_zoo.get_checkpoint_url(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--weights {name}: there is no such file, and {error}") from error
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--weights {name}: Detectron2's model zoo can't be read ({error}). {NO_PKG_RESOURCES}, or give "
            "the weights as a file or URL"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"--weights {name}: Detectron2's model zoo has this config, but no weights for it: give another "
            "name, or the weights as a file or URL"
        ) from error
    return address


def prepare(args: Namespace) -> RegisteredData | None:
    """Imports the modules of --import and registers the data of --data. Each process of a command needs this.

    Returns:
        The data sets of --data; None if the option is not given.
    """
    for module in args.modules:
        import_data_sets(module)
    for place, name in enumerate(getattr(args, "dataset", ())):
        args.dataset[place] = present = present_dataset_name(name)
        if present != name:
            logger.warning("--dataset %s: this data set is now called %s", name, present)
    path: Path | None = getattr(args, "data", None)
    return None if path is None else register_data_file(path)


@dataclass(frozen=True)
class RunConfig:
    """A config, and where it comes from.

    Attributes:
        cfg: the config, not frozen.
        config_file: its file.
        opts: its overrides, with those that options stand for.
        rate: learning rate of the file without the overrides.
    """

    cfg: Config
    config_file: str
    opts: list[str]
    rate: Rate


def load_run_config(
    args: Namespace,
    options: Iterable[str] = (),
    *,
    weights: Weights | None = None,
    data: RegisteredData | None = None,
) -> RunConfig:
    """Loads the config that the options describe, and applies options and overrides to it.

    Args:
        args: parsed options. Words that belong to the overrides are removed from options with several values,
            see `take_overrides`.
        options: names of the options that set a key of the config.
        weights: the checkpoint of --weights. If --config-file is not given, the config beside it is taken,
            without what it says about files and folders, since it may come from anybody.
        data: the data sets of --data, which replace those of the config.

    Raises:
        FileNotFoundError, ValueError: see `load_config` and `fit_to_data`; or no config is named, or
            an option and an override set the same key.
    """
    beside = weights.config_file if weights and not args.config_file else None
    found = args.config_file or beside
    if found is None:
        raise ValueError(
            f"--weights {args.weights}: there is no {CONFIG_FILE} beside it: give its config as --config-file"
        )
    config_file = str(found)
    cfg = load_config(
        config_file, unsafe_yaml=args.allow_unsafe_yaml, beside_weights=[config_file] if beside else []
    )
    parts = parts_of(cfg)
    opts = take_overrides(args, {*parts.settings(), *OLD_KEYS}, python=parts.is_python)
    overridden = parts.overridden_keys(opts)
    given = vars(args) | {"weights": None if weights is None else weights.address}
    for option in options:
        value = given[option]
        if value is None or value == [] or value is False:
            continue
        key = getattr(parts.keys, _KEY_OF.get(option, option))
        if key in overridden:
            raise ValueError(
                f"--{option.replace('_', '-')} and the override {key} set the same: leave one out"
            )
        if option == "task":
            if len(value) > 1:  # they are evaluated in turn, so none is that of the config
                continue
            value = parse_task(value[0])
        opts += parts.override(key, value)
    # The config of a shared model names no device of this machine.
    if beside and weights and weights.shared and not {parts.keys.device} & parts.overridden_keys(opts):
        opts += parts.override(parts.keys.device, usual_device())
    override_config(cfg, opts, config_file)
    if data is not None:
        fit_to_data(cfg, opts, data)
    return RunConfig(cfg, config_file, opts, Rate.of(parts))


def take_overrides(args: Namespace, known: Collection[str], *, python: bool) -> list[str]:
    """The overrides on a command line, wherever they stand.

    The parser cannot tell where the values of an option such as --input end and the overrides begin. A word
    is an override if the config has its key.

    Args:
        args: parsed options. Overrides are removed from the options with several values.
        known: keys of the config.
        python: whether the config is in Python, with overrides key=value; otherwise they are pairs KEY VALUE.

    Returns:
        The overrides, as `load_config` takes them.

    Raises:
        ValueError: a word after the options is no key, or a key has no value.
    """
    found: list[str] = []
    for name, values in vars(args).items():
        if name in ("modules", "opts", "allow_unsafe_yaml") or not isinstance(values, list):
            continue
        overrides, rest = _split(values, known, python)
        found += overrides
        values[:] = rest
    overrides, rest = _split(args.opts, known, python)
    if rest:
        raise ValueError(_no_override(str(rest[0]), known, python))
    return found + overrides


def _split(words: Iterable[Any], known: Collection[str], python: bool) -> tuple[list[str], list[Any]]:
    """Overrides among some words, and the other words."""
    overrides, rest, remaining = list[str](), list[Any](), iter(words)
    for word in remaining:
        text = str(word)
        if python and "=" in text and _names_a_key(text.partition("=")[0], known):
            overrides.append(text)
        elif not python and text in known:
            value = next(remaining, None)
            if value is None:
                raise ValueError(f"the override {text} has no value: write {text} VALUE")
            overrides += [text, str(value)]
        else:
            rest.append(word)
    return overrides, rest


def _no_override(word: str, known: Collection[str], python: bool) -> str:
    """What is wrong with a word that is no override, and what may be meant."""
    key, equals, _ = word.partition("=")
    if _names_a_key(key, known) and not (python and equals):
        form = f"{key}=VALUE" if python else f"{key} VALUE"
        return f"{word!r} is no override: write {form}"
    return f"{word!r} is no key of the config{near_keys(key, known)}"


def near_keys(word: str, known: Iterable[str]) -> str:
    """The end of a message that names similar keys of a config; empty if nothing is similar."""
    return _in_words(similar_keys(word.partition("=")[0], known))


def _names_a_key(text: str, known: Collection[str]) -> bool:
    """Whether a text is a key, or the first part of keys."""
    return text in known or any(key.startswith(f"{text}.") for key in known)


def near_misses(word: str, known: Iterable[str]) -> str:
    """The end of a message that names similar words; empty if nothing is similar."""
    return _in_words(get_close_matches(word.partition("=")[0], known, n=3))


def _in_words(near: Sequence[str]) -> str:
    return f": did you mean {' or '.join(near)}?" if near else ""
