"""Imports go one way, between rooms and inside them; the map of the folders is complete."""

import ast
import re
from pathlib import Path

import pytest

from tests.builders.tiny_models import REPOSITORY

PACKAGE = REPOSITORY / "reldn_d2"
MODULES = sorted(PACKAGE.rglob("*.py"))
# What each room may import from.
ROOMS: dict[str, set[str]] = {
    "utils": set(),
    "renamed": set(),
    "config": {"renamed"},
    "config_values": set(),
    "structures": set(),
    "model_zoo": set(),
    "data": {"structures", "utils"},
    "modeling": {"structures", "config_values"},
    "evaluation": {"structures", "utils", "renamed"},
    "checkpoint": {"structures", "data", "modeling", "evaluation", "utils"},
    "scene_graphs": {"structures", "data", "utils"},
    "visualization": {"structures", "data", "modeling", "evaluation", "scene_graphs", "utils"},
    "engine": {
        *("structures", "data", "modeling", "evaluation", "checkpoint", "scene_graphs", "visualization"),
        *("config", "config_values", "renamed", "model_zoo", "utils"),
    },
    "recipes": {
        "structures",
        "data",
        "checkpoint",
        "scene_graphs",
        "visualization",
        "model_zoo",
        "engine",
        "utils",
    },
    "ablation": {"data", "evaluation", "engine", "renamed", "model_zoo", "utils"},
    "demo": {"structures", "data", "evaluation", "scene_graphs", "visualization", "engine", "utils"},
    "cli": {
        *("structures", "data", "evaluation", "checkpoint", "scene_graphs", "visualization", "engine"),
        *("ablation", "demo", "recipes", "config", "renamed", "model_zoo", "utils"),
    },
    "__init__": {"config", "data", "model_zoo", "modeling", "engine", "utils"},
}
# The layers of a room, lowest first: files and folders that import only from their own and from lower layers.
LAYERS: dict[str, list[set[str]]] = {
    "structures": [
        {"annotations", "boxes", "predicate_counts", "queries", "vocabulary"},
        {"pairs", "dataset_dicts"},
    ],
    "data": [
        {"arrays", "images", "pixels", "fit_boxes", "registration", "detections", "loaders"}
        | {"without_pictures"},
        {"filters", "statistics", "mapper", "training_loader", "chosen_batches"},
        {"datasets", "synthetic", "checking", "sources"},
        {"builtin", "conversion", "data_file"},
    ],
    "modeling": [
        {"acceleration", "backbone", "backbone_checks", "region_heads", "inputs", "postprocessing"}
        | {"memory_errors", "passes"},
        {"training_setup", "visualize_training"},
        {"relation_head"},
        {"queries", "start_from_detector"},
        {"meta_arch"},
        {"published", "lazy_model", "test_time_augmentation"},
    ],
    "evaluation": [
        {"graphs", "rows", "box_evaluator"},
        {"matching", "metrics", "ranking", "training_split", "triplet_graphs"},
        {"protocols", "bootstrap"},
        {"checks", "io", "golden", "seeds"},
        {"ground_truth", "graph_metrics"},
        {"scorer"},
        {"evaluator"},
    ],
    "checkpoint": [
        {"content_digest"},
        {"array_pickles"},
        {"safe_files", "weight_source", "compatibility", "class_transfer", "finite", "predicate_tables"},
        {"safetensors_files"},
        {"formats"},
        {"checkpointer", "importers"},
    ],
    "scene_graphs": [
        {"graph"},
        {"checking"},
        {"networkx_graph", "triplets"},
        {"formats"},
    ],
    "visualization": [
        {"fonts", "images", "svg", "layout", "labels"},
        {"places", "sheet"},
        {"panel"},
        {"edges"},
        {"draw", "graph_svg", "plots", "feature_maps", "report"},
    ],
    "engine": [
        {"run_identity", "optimizer", "protocols", "user_modules", "console", "seed", "duration", "places"},
        {"autocast_trainer"},
        {"datasets", "parts", "best_checkpoint", "config_files", "python_values"},
        {"exact_resume", "part_names"},
        {"saved_python"},
        {"yaml", "lazy", "first_screen", "length", "rate", "summary", "folder_lock", "failed_writes"},
        {"resumable_evaluation"},
        {"run"},
        {"finite"},
        {"relation_training"},
        {"trainer"},
        {"evaluate"},
        {"authors_checkpoint"},
        {"zoo_models"},
        {"pretrained"},
        {"prediction", "detections", "setup", "own_data"},
    ],
    "recipes": [
        {"start", "fit", "drawings"},
        {"small"},
    ],
    "ablation": [
        {"tables"},
        {"runs"},
        {"intervals", "jobs"},
        {"report"},
    ],
    "demo": [
        {"models", "steps"},
        {"cases", "side_by_side", "texts"},
        {"pictures"},
        {"report"},
        {"run"},
    ],
    "cli": [
        {"common", "checking", "prediction"},
        {"saved_predictions"},
        {
            *("train", "evaluate", "predict", "compare", "check", "convert_data", "convert_checkpoint"),
            *("convert_backbone", "cache_detections", "ablate", "demo"),
        },
    ],
}


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a module imports, by absolute name, but for those that only types need."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    tree = ast.parse(path.read_text())
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            base = ".".join(filter(None, [base, node.module]))
            # A name may be a module itself; more parts than the module has do no harm.
            names = [f"{base}.{alias.name}" for alias in node.names]
        if node not in for_types:
            found |= {name for name in names if name.startswith(f"{PACKAGE.name}.")}
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def layer_of(room: str, name: str) -> int:
    """Number of the layer that names a file or folder."""
    layers = LAYERS[room]
    return next((i for i, layer in enumerate(layers) if name in layer), len(layers))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_import_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    imported = {name.split(".")[1] for name in imported_modules(path)}
    assert imported - {room} <= ROOMS[room]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_layers_inside_a_room_import_one_way(path: Path) -> None:
    room, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    if room not in LAYERS or rest == ["__init__"]:
        return
    own = rest[0]
    assert layer_of(room, own) < len(LAYERS[room]), f"say in which layer of {room} {own} is"
    inside = [name.split(".")[2] for name in imported_modules(path) if name.split(".")[1] == room]
    above = {name for name in inside if layer_of(room, name) > layer_of(room, own)}
    assert not {name for name in above if layer_of(room, name) < len(LAYERS[room])}


def test_no_modules_import_each_other() -> None:
    """The imports of the package have no circle, folders' `__init__` left out."""
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in MODULES
        if path.stem != "__init__"
    }
    edges = {}
    for name, path in modules.items():
        imported = imported_modules(path)
        edges[name] = {other for other in modules if any(f"{x}.".startswith(f"{other}.") for x in imported)}
    while leaves := [name for name, imported in edges.items() if not imported & edges.keys() - {name}]:
        for name in leaves:
            del edges[name]
    assert not edges


@pytest.mark.parametrize("path", [p for p in MODULES if "modeling" in p.parts], ids=name_of)
def test_modeling_knows_no_catalog(path: Path) -> None:
    assert "Catalog" not in path.read_text()


@pytest.mark.parametrize("room", LAYERS)
def test_every_file_of_a_room_is_in_one_layer(room: str) -> None:
    there = {
        path.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        for path in MODULES
        if room in path.parts
    }
    named = [name for layer in LAYERS[room] for name in layer]
    assert len(named) == len(set(named))
    assert set(named) == there - {"__init__"}


# The demo is made of commands that a reader can repeat, so it parses them.
IMPORT_THE_PARSER = {"cli/demo.py"}


def test_the_package_does_not_know_its_command_line() -> None:
    """`reldn_cli` is on top of the package. That it imports nothing at its top is tested with the parser."""
    pattern = re.compile(r"^\s*(from|import) reldn_cli\b", re.MULTILINE)
    assert {name_of(path) for path in MODULES if pattern.search(path.read_text())} == IMPORT_THE_PARSER


def test_texts_reach_the_screen_through_one_function() -> None:
    """`say` writes as escapes what could steer a terminal; a log has a formatter that does the same."""
    printing = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing == {"utils/plain_text.py"}


def test_tables_in_markdown_come_from_one_function() -> None:
    using = {name_of(path) for path in MODULES if '"pipe"' in path.read_text()}
    assert using == {"utils/plain_text.py"}


def test_train_net_stays_thin() -> None:
    assert len((REPOSITORY / "train_net.py").read_text().splitlines()) < 80


def test_the_map_names_every_folder_once() -> None:
    """docs/architecture.md shows the folders as a tree, two spaces a level."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    (tree,) = re.findall(r"^## Map\n\n```\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    found, above = [], []
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        del above[len(indent) // 2 :]
        above.append(name.rstrip("/"))
        if name.endswith("/"):
            found.append("/".join(above))
    package = {
        str(folder.relative_to(REPOSITORY))
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
        for folder in file.parents
        if folder.is_relative_to(PACKAGE)
    }
    assert len(found) == len(set(found))
    assert {name for name in found if name.startswith(PACKAGE.name)} == package
    others = {"configs", "datasets", "docs", "examples", "reldn_cli", "reldn_cli/commands", "tests", "tools"}
    assert {name for name in found if not name.startswith(PACKAGE.name)} == others


def test_paths_of_the_relation_heads_parameters_stand_in_the_head_alone() -> None:
    path_of_parameter = re.compile(r"pair_classifier\.(\w+_head|visual|spatial|semantic)\b")
    found = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and path_of_parameter.search(node.value)
    }
    assert found == {"modeling/relation_head/head.py"}
