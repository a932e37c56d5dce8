"""The learning rate for each image of a batch, and a line if overrides move it far from the config's."""

from dataclasses import dataclass

from .parts import RunParts

# A rate that is this many times higher or lower than the config file's is said.
_FAR = 4
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Rate:
    """A learning rate, and the number of images that it was chosen for.

    Attributes:
        base_lr: learning rate that the schedule multiplies; None: the config does not say.
        batch_size: number of images of an iteration; None: the config does not say.
    """

    base_lr: float | None
    batch_size: int | None

    @classmethod
    def of(cls, parts: RunParts) -> "Rate":
        """The rate of a config."""
        return cls(parts.base_lr, parts.batch_size)

    def describe_move(self, parts: RunParts, config_file: str) -> str:
        """Says that overrides moved the rate for each image far away from this one.

        Args:
            parts: parts of the run, with its overrides.
            config_file: name of the file with this rate.

        Returns:
            A sentence; empty if the rate is at most four times higher or lower, or a config does not say it.
        """
        before, after = (_positive(rate) for rate in (self, Rate.of(parts)))
        if before is None or after is None:
            return ""
        (old_lr, old_size), (lr, size) = before, after
        factor = lr / size / (old_lr / old_size)
        if max(factor, 1 / factor) <= _FAR * (1 + _ROUNDING):
            return ""
        keys = parts.keys
        times = f"{factor:.3g} times as high" if factor > 1 else f"{1 / factor:.3g} times lower"
        return (
            f"{keys.base_lr} / {keys.batch_size} is {lr:g} / {size} in this run and {old_lr:g} / {old_size} "
            f"in {config_file}: the learning rate for each image is {times}. The linear scaling rule keeps "
            f"it: {' '.join(parts.override(keys.base_lr, f'{old_lr / old_size * size:g}'))}"
        )


def _positive(rate: Rate) -> tuple[float, int] | None:
    return (rate.base_lr, rate.batch_size) if rate.base_lr and rate.batch_size else None
