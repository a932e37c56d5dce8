"""Config keys that name a file, a folder or an address, and what becomes of them beside weights.

A config that lies beside weights comes from whoever made the weights. So what it says about places is not
used: these keys get their defaults, and a place in any other key is refused.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)

#: Keys of YAML configs whose values are places. A new key of this kind belongs here.
YAML_PLACES = (
    "OUTPUT_DIR",
    *("MODEL.WEIGHTS", "MODEL.ROI_RELATION_HEAD.WEIGHTS"),
    *("DATASETS.DETECTION_FILES_TRAIN", "DATASETS.DETECTION_FILES_TEST"),
    *("DATASETS.PROPOSAL_FILES_TRAIN", "DATASETS.PROPOSAL_FILES_TEST"),
)
#: Shell patterns of such keys in Python configs -> the value that they get beside weights. The first that
#: matches counts.
PYTHON_PLACES: dict[str, Any] = {
    "train.output_dir": "./output",
    "*.output_dir": "${train.output_dir}/inference",
    "train.init_checkpoint": "",
    "train.relation_checkpoint": "",
    "datasets.*_detections": [],
    "*.detection_files": [],
}
# A value of these keys that only refers to other keys of this table, and to names, is no place of its own.
_REFERENCE = re.compile(r"\$\{(train\.output_dir|datasets\.\w+_detections)\}(/\$\{[\w.]+\}|/\w+)*")
#: Keys of the precomputed detections of test sets, which change the numbers of an evaluation.
TEST_DETECTIONS = ("DATASETS.DETECTION_FILES_TEST", "datasets.test_detections")
_DEVICE = re.compile(r"[a-z]+:\d+")
_ADDRESS = re.compile(r"\w[\w+.-]+\s*:\S|(hf[-_]hub|local[-_]dir|timm|file|https?)\s*:|\w:[\\/]", re.I)


def is_place(text: str) -> bool:
    """Whether a text names an absolute path, a path with "..", or an address such as "hf-hub:x/y"."""
    plain = "".join(letter for letter in text if letter.isprintable()).strip()
    if _DEVICE.fullmatch(plain):  # such as cuda:0
        return False
    parts = re.split(r"[\\/]", plain)
    return plain[:1] in ("/", "\\", "~") or ".." in parts or "://" in plain or bool(_ADDRESS.match(plain))


def say_unused(unused: Mapping[str, Any], source: str) -> None:
    """Warns of detections that a config beside weights names, because the numbers change without them."""
    for key, value in unused.items():
        if key in TEST_DETECTIONS and value:
            logger.warning(
                "%s names precomputed detections (%s: %s), which are not used, because it lies beside "
                "weights: the detector runs. To use them, give this key on the command line",
                source, key, value,
            )  # fmt: skip


def without_places(content: Any, source: str, key: str = "") -> Any:
    """The content of a saved Python config with the defaults of `PYTHON_PLACES`.

    Args:
        content: what the file has, or the value of a key in it.
        source: the config file, for the warning about what is not used.
        key: full name of the key.
    """
    if key and not (isinstance(content, str) and _REFERENCE.fullmatch(content)):
        for pattern, default in PYTHON_PLACES.items():
            if fnmatchcase(key, pattern):
                if content != default:
                    say_unused({key: content}, source)
                return default
    start = f"{key}." if key else ""
    if isinstance(content, Mapping):
        return {name: without_places(item, source, f"{start}{name}") for name, item in content.items()}
    if isinstance(content, list):
        return [without_places(item, source, f"{start}{place}") for place, item in enumerate(content)]
    return content


def refuse_places(settings: Mapping[str, Any], source: str) -> None:
    """Refuses what is left of places in a config beside weights.

    Args:
        settings: full names of keys and their values. Keys that are as in the defaults may be left out.
        source: the config file.

    Raises:
        ValueError: a value is a place, for example an address that timm would download from.
    """
    for key, value in settings.items():
        # timm looks at what stands before a colon or a slash.
        strict = key.endswith("RELDN_TIMM.NAME")
        for text in _texts(value):
            if is_place(text) or (strict and not re.fullmatch(r"[\w.-]*", text)):
                raise ValueError(
                    f"{source} has {key}: {text!r}, but what lies beside weights names nothing outside: no "
                    "address, no absolute path, no '..'. If you trust it, give it as --config-file "
                    f"{source}"
                )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, Sequence | Set):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, partial):
        yield from _texts((value.args, value.keywords))
