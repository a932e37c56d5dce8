"""The examples in the docstrings of the package run and print what they say."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import reldn_d2

MODULES = [
    module.name
    for module in pkgutil.walk_packages(reldn_d2.__path__, "reldn_d2.")
    if not module.name.endswith(".__main__")
]
# What other projects use alone (docs/reuse.md): each has an example.
USED_ALONE = [
    "reldn_d2.evaluation.GraphMetrics",
    "reldn_d2.evaluation.RelationEvaluator",
    "reldn_d2.evaluation.evaluate_graphs",
    "reldn_d2.evaluation.graph_from_triplets",
    "reldn_d2.evaluation.golden_cases",
    "reldn_d2.evaluation.rank_triplets",
    "reldn_d2.modeling.ContrastiveLosses",
    "reldn_d2.modeling.PairSampler",
    "reldn_d2.modeling.PublishedPairSampler",
    "reldn_d2.modeling.predicate_cross_entropy",
    "reldn_d2.modeling.select_relationships",
    "reldn_d2.scene_graphs.build_scene_graph",
    "reldn_d2.scene_graphs.to_networkx",
    "reldn_d2.structures.EntityBatch.from_images",
    "reldn_d2.structures.PairTargets.from_labels",
    "reldn_d2.structures.PairTargets.from_table",
    "reldn_d2.structures.Pairs.from_images",
    "reldn_d2.visualization.Report",
    "reldn_d2.visualization.draw_scene_graph",
    "reldn_d2.visualization.scene_graph_svg",
]


def examples(module: ModuleType) -> Iterator[doctest.DocTest]:
    """The docstrings of a module that have examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return (found for found in finder.find(module, module.__name__) if found.examples)


def failures(module: ModuleType) -> str:
    """What the examples of a module print instead of what they say; empty if all is well."""
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for found in examples(module):
        runner.run(found, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name: str) -> None:
    assert not failures(importlib.import_module(name))


@pytest.mark.parametrize("name", USED_ALONE)
def test_what_others_use_alone_has_an_example_with_one_import(name: str) -> None:
    """One import, of the place that the list names, is enough, and the example has about ten lines."""
    room, _, path = name.removeprefix("reldn_d2.").partition(".")
    value = importlib.import_module(f"reldn_d2.{room}")
    for part in path.split("."):
        value = getattr(value, part)
    text = inspect.getdoc(value) or ""
    assert "\nExample:\n" in text, f"give {name} a section 'Example:'"
    lines = [line.source for line in doctest.DocTestParser().get_examples(text.split("\nExample:\n")[1])]
    assert [line.split()[1] for line in lines if line.startswith("from reldn_d2")] == [f"reldn_d2.{room}"]
    assert sum(line.count("\n") for line in lines if "import" not in line) <= 12, "about ten lines"
    found = [test.name for test in examples(importlib.import_module(value.__module__))]
    assert f"{value.__module__}.{value.__qualname__}" in found, f"{name} is not collected"


def test_a_wrong_example_fails() -> None:
    module = ModuleType("wrong")
    module.__doc__ = "Example:\n    >>> 1 + 1\n    3\n"
    assert "Expected:\n    3\nGot:\n    2" in failures(module)


def test_an_example_with_an_error_fails() -> None:
    module = ModuleType("broken")
    module.__doc__ = "Example:\n    >>> unknown\n    3\n"
    assert "NameError" in failures(module)
