"""The model card: README.md of a saved folder, which the hub shows as the page of the model."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import yaml

from reldn_d2.evaluation.protocols.headline import main_metrics
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.plain_text import markdown_table, to_markdown, visible, visible_lines

from .info import UNKNOWN, EvaluationInfo, ModelInfo, TrainingInfo

if TYPE_CHECKING:
    from jinja2 import Template

# Identifiers that the hub knows. It takes others as "other", with a name.
_LICENSES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "unlicense", "cc0-1.0"),
    *(f"cc-{kind}-4.0" for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")),
}
_LISTED_NAMES = 200
# A comment in what the hub reads.
_MARK = "# written by reldn_d2; SHA-256 of the other lines: "
_TAGS = ("scene-graph-generation", "visual-relationship-detection", "detectron2", "reldn")


def _paragraphs(text: str) -> str:
    """Each line of a text as a paragraph; one that some dialect could take for markup is shown as code."""
    return "\n\n".join(to_markdown(line.strip()) for line in text.splitlines() if line.strip())


def _literal(text: str) -> str:
    """A text of several lines that no dialect of Markdown takes for markup."""
    text = visible_lines(text.strip())
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader(__package__),
        # The page is Markdown, for which Jinja2 has no escapes: each text goes through one of these filters.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"name": to_markdown, "paragraphs": _paragraphs, "literal": _literal}
    return templates.get_template("model_card.md.jinja")


def model_card(info: ModelInfo, vocabulary: Vocabulary, *, name: str | None, half_precision: bool) -> str:
    """The text of the card. One of its lines has a digest of the others, see `is_generated`.

    Args:
        info: what is known of the model.
        vocabulary: its classes.
        name: what loads it, for example its hub id; None: it is in a folder of any name.
        half_precision: whether its weights are rounded.
    """
    text = _template().render(
        front_matter=_front_matter(info.license),
        title=(name or "RelDN").rpartition("/")[2],
        address=name or "FOLDER",
        has_name=name is not None,
        info=info,
        numbers=markdown_table(
            ["data set", "task", "protocol", "number", "%"],
            [row for evaluation in info.evaluations for row in _rows(evaluation)],
            ["left", "left", "left", "left", "right"],
        ),
        notes=list(dict.fromkeys(note for x in info.evaluations for note in x.notes)),
        training=markdown_table(["what", "value"], [*_facts(info.training)]),
        classes=_some(vocabulary.thing_classes),
        number_of_classes=len(vocabulary.thing_classes),
        predicates=_some(vocabulary.predicate_classes),
        number_of_predicates=len(vocabulary.predicate_classes),
        half_precision=half_precision,
        unknown=UNKNOWN,
    )
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:1], f"{_MARK}{_digest(lines)}\n", *lines[1:]])


def is_generated(card: bytes) -> bool:
    """Whether a card is as `model_card` has made it, so that nobody has edited it."""
    lines = card.decode(errors="replace").splitlines(keepends=True)
    others = [line for line in lines if not line.startswith(_MARK)]
    return f"{_MARK}{_digest(others)}\n" in lines


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _front_matter(identifier: str) -> str:
    """What the hub reads, as YAML. A licence that nobody has named is left out."""
    content: dict[str, object] = {"library_name": "reldn-d2", "tags": [*_TAGS]}
    known = identifier.lower()
    if known in _LICENSES:
        content["license"] = known
    elif identifier:
        content |= {"license": "other", "license_name": visible(identifier)}
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def _rows(evaluation: EvaluationInfo) -> Iterator[list[str]]:
    where = [evaluation.data_set, evaluation.task, evaluation.protocol]
    for name, value in main_metrics(evaluation.protocol, evaluation.metrics).items():
        yield [*where, name, f"{value:.2f}"]


def _facts(training: TrainingInfo | None) -> Iterator[list[str]]:
    if training is None:
        return
    facts = {
        "package": training.package_version and f"reldn-d2 {training.package_version}",
        "training sets": ", ".join(training.data_sets),
        "training images": training.images,
        "iterations": training.iterations,
        "seed": training.seed,
    }
    for name, value in facts.items():
        if value not in (None, ""):
            yield [name, str(value)]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(map(to_markdown, names[:_LISTED_NAMES])) + more
