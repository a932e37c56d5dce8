"""`ModelInfo`: what a saved folder says about its model, in `model.json`. What is not known is absent."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: Said where nobody has named a licence, or told where the training data come from.
UNKNOWN = "unknown: ask the author"
# A file of a newer release may say something that this release would miss.
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class TrainingInfo:
    """How a model was trained.

    Attributes:
        package_version: release of this package that ended the training; None: not known. So for the others.
        iterations: length of the training.
        data_sets: names of the training sets; empty: not known.
        images: number of training images.
        seed: seed of the random numbers.
    """

    package_version: str | None = None
    iterations: int | None = None
    data_sets: tuple[str, ...] = ()
    images: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class EvaluationInfo:
    """The numbers of one protocol on one data set.

    Attributes:
        data_set: name of the data set.
        task: "sgdet", "sgcls" or "prdcls".
        protocol: name of the protocol, as `--protocol` takes it.
        metrics: name of the number -> percent.
        notes: what a reader of the numbers must know, for example that images were excluded.
    """

    data_set: str
    task: str
    protocol: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelInfo:
    """What a saved folder says about its model.

    Attributes:
        description: what the model is, in a few sentences of plain text.
        training: how it was trained; None: not known.
        evaluations: its numbers.
        license: identifier of the licence of the weights, such as "cc-by-4.0"; empty: not known.
        data_notice: where the training data come from and what their licences ask for, as plain text, which
            is also written to the file NOTICE; empty: not known.
        measured_before_rounding: whether `evaluations` were measured before the weights were rounded to half
            precision.
    """

    description: str = ""
    training: TrainingInfo | None = None
    evaluations: tuple[EvaluationInfo, ...] = ()
    license: str = ""
    data_notice: str = ""
    measured_before_rounding: bool = False

    def to_json(self, **more: Any) -> bytes:
        """The content of `model.json`.

        Args:
            more: further entries.
        """
        content = asdict(self)
        training = {
            key: value for key, value in (content.pop("training") or {}).items() if value not in (None, ())
        }
        written = {
            "format_version": _FORMAT_VERSION,
            **more,
            **{key: value for key, value in content.items() if value},
            **({"training": training} if training else {}),
            "license": self.license or UNKNOWN,
            "data_notice": self.data_notice or UNKNOWN,
        }
        return (json.dumps(written, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, source: str) -> "ModelInfo":
        """Reads `model.json`. Keys that this release does not know are ignored.

        Args:
            content: the file's content, which may come from anybody.
            source: the file, for messages.

        Raises:
            ValueError: it is not such a file, or of a newer format. The message names file and key.
        """
        try:
            saved = json.loads(content)
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{source} is not JSON ({error}): get the file again") from error
        read = InfoReader(source)
        version = read.whole_number(read.mapping(saved, "the file"), "format_version")
        if version is None or version > _FORMAT_VERSION:
            raise ValueError(
                f"{source} has format_version {version}, and this release reads up to {_FORMAT_VERSION}: "
                "update reldn-d2"
            )
        return cls(
            read.text(saved, "description"),
            read.training(saved.get("training")),
            tuple(map(read.evaluation, read.list(saved, "evaluations"))),
            read.known_text(saved, "license"),
            read.known_text(saved, "data_notice"),
            read.truth_value(saved, "measured_before_rounding"),
        )


@dataclass(frozen=True)
class InfoReader:
    """Reads JSON values that may come from anybody. Each method raises ValueError for one of another kind.

    Attributes:
        source: their file, for messages.
    """

    source: str

    def mapping(self, value: Any, key: str) -> Mapping[str, Any]:
        """An object."""
        return value if isinstance(value, dict) else self._refuse(key, "an object")

    def list(self, saved: Mapping[str, Any], key: str) -> list[Any]:
        """A list under this key; empty if it is missing."""
        value = saved.get(key, [])
        return value if isinstance(value, list) else self._refuse(key, "a list")

    def text(self, saved: Mapping[str, Any], key: str) -> str:
        """A text under this key; empty if it is missing."""
        value = saved.get(key, "")
        return value if isinstance(value, str) else self._refuse(key, "a text")

    def known_text(self, saved: Mapping[str, Any], key: str) -> str:
        """The same; empty if it says that nothing is known."""
        text = self.text(saved, key)
        return "" if text == UNKNOWN else text

    def texts(self, saved: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """A list of texts under this key; empty if it is missing."""
        values = self.list(saved, key)
        return tuple(values) if all(isinstance(x, str) for x in values) else self._refuse(key, "texts")

    def whole_number(self, saved: Mapping[str, Any], key: str) -> int | None:
        """A whole number under this key; None if it is missing."""
        value = saved.get(key)
        return value if value is None or type(value) is int else self._refuse(key, "a whole number")

    def truth_value(self, saved: Mapping[str, Any], key: str) -> bool:
        """A truth value under this key; False if it is missing."""
        value = saved.get(key, False)
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def training(self, value: Any) -> TrainingInfo | None:
        """How a model was trained."""
        if value is None:
            return None
        saved = self.mapping(value, "training")
        return TrainingInfo(
            self.text(saved, "package_version") or None,
            self.whole_number(saved, "iterations"),
            self.texts(saved, "data_sets"),
            self.whole_number(saved, "images"),
            self.whole_number(saved, "seed"),
        )

    def evaluation(self, value: Any) -> EvaluationInfo:
        """The numbers of a protocol."""
        saved = self.mapping(value, "evaluations")
        metrics = self.mapping(saved.get("metrics", {}), "metrics")
        for name, number in metrics.items():
            # NaN is not between any numbers, and some whole numbers are too large for a float.
            if type(number) not in (int, float) or not -sys.float_info.max <= number <= sys.float_info.max:
                self._refuse(f"metrics, {name!r}", "a number")
        return EvaluationInfo(
            self.text(saved, "data_set"),
            self.text(saved, "task"),
            self.text(saved, "protocol"),
            dict(metrics),
            self.texts(saved, "notes"),
        )

    def _refuse(self, key: str, wanted: str) -> Any:
        raise ValueError(f"{self.source}: {key} is not {wanted}: get the file again, or correct it")
