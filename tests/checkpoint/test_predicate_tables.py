"""Checkpoints with the semantic table of a large vocabulary, and models of either form of the table."""

from pathlib import Path
from typing import Any

import pytest
import torch

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.checkpoint.importers import convert
from reldn_d2.checkpoint.predicate_tables import with_dense_tables
from reldn_d2.engine import load_config, vocabulary_of
from reldn_d2.engine.authors_checkpoint import model_without_memory
from reldn_d2.structures import predicate_counts
from reldn_d2.structures.vocabulary import Vocabulary
from tests.builders.authors_checkpoints import CONFIGS, Widths, reldn_shapes, shapes_alone
from tests.builders.tiny_models import TinyConfig, make_input, make_model

HEAD = "relation_head.pair_classifier.semantic."
FORMS = {"dense": 256_000_000, "sparse": 0}
NAMES = {"dense": {"log_prior"}, "sparse": {"log_prior_rows", "row_of_pair"}}
SCENES = vocabulary_of("reldn_scenes_tiny_train")
OTHERS = Vocabulary([*SCENES.thing_classes, "unicorn"], ["likes", *SCENES.predicate_classes])
OTHER_SIZES = ("MODEL.ROI_HEADS.NUM_CLASSES", "7", "MODEL.ROI_RELATION_HEAD.NUM_PREDICATES", "8")


def forms_of_both(*fast: str) -> pytest.MarkDecorator:
    """The form of the file and that of the model. Those that are not named are slow tests."""
    cases = {f"{old}-{new}": (old, new) for old in FORMS for new in FORMS}
    return pytest.mark.parametrize(
        ("old", "new"),
        [
            pytest.param(*case, id=name, marks=() if name in fast else pytest.mark.slow)
            for name, case in cases.items()
        ],
    )


class Models:
    """Makes models of either form, and files of them."""

    def __init__(self, tiny_config: TinyConfig, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.tiny_config, self.folder, self.patch = tiny_config, folder, patch

    def make(self, form: str, *options: str, seed: int = 0, counted: bool = True) -> Any:
        """A model whose other weights depend on the seed."""
        self.patch.setattr(predicate_counts, "DENSE_LIMIT", FORMS[form])
        cfg = self.tiny_config("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", *options)
        model: Any = make_model(cfg, seed)
        semantic = model.relation_head.pair_classifier.semantic
        if not counted:  # as it is built from its config alone
            semantic = type(semantic)(
                num_classes=semantic.shape[0], num_predicates=semantic.shape[-1] - 1, eps=semantic.eps
            )
            model.relation_head.pair_classifier.semantic = semantic
        assert {name for name in model.state_dict() if HEAD in name} == {f"{HEAD}{x}" for x in NAMES[form]}
        return model.eval()

    def save(self, form: str, vocabulary: Vocabulary | None = SCENES) -> tuple[str, Any]:
        """A file, and the model that it is of."""
        model = self.make(form)
        RelationCheckpointer(model, str(self.folder), vocabulary=vocabulary).save(form)
        return str(self.folder / f"{form}.pth"), model


@pytest.fixture
def models(tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    return Models(tiny_config, tmp_path, monkeypatch)


def same_dense_state(a: Any, b: Any) -> bool:
    first, second = with_dense_tables(a), with_dense_tables(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@forms_of_both("dense-sparse", "sparse-dense", "sparse-sparse")
def test_a_model_built_from_its_config_loads_both_forms(models: Models, old: str, new: str) -> None:
    path, saved = models.save(old)
    model = models.make(new, seed=1, counted=False)
    RelationCheckpointer(model, complete=True).load(path)
    assert same_dense_state(model, saved)
    inputs = [make_input(0, [])]
    with torch.no_grad():
        relations, expected = (x(inputs)[0]["relations"] for x in (model, saved))
    assert len(relations) > 0 and torch.equal(relations.scores, expected.scores)


@forms_of_both("sparse-sparse")
def test_a_counted_model_loads_both_forms(models: Models, old: str, new: str) -> None:
    """As a training that starts from a checkpoint of the same classes; wrapped names, too."""
    path, saved = models.save(old)
    model = models.make(new, seed=1)
    model.relation_head.set_predicate_counts(torch.zeros(6, 6, 8).numpy())  # no row but the shared one
    checkpoint = torch.load(path, weights_only=True)
    torch.save({"model": {f"module.{name}": x for name, x in checkpoint["model"].items()}}, path)
    RelationCheckpointer(model, complete=True).load(path)
    assert same_dense_state(model, saved)


@forms_of_both("dense-sparse")
def test_the_relation_part_alone_is_loaded_from_both_forms(models: Models, old: str, new: str) -> None:
    path, saved = models.save(old)
    model = models.make(new, seed=1)
    RelationCheckpointer(model, vocabulary=SCENES).load_relation_part(path)
    found, expected = with_dense_tables(model), with_dense_tables(saved)
    relation = [name for name in expected if name.startswith("relation_")]
    assert all(torch.equal(found[name], expected[name]) for name in relation)


@forms_of_both("dense-sparse", "sparse-dense")
def test_a_model_of_other_classes_keeps_its_own_table(models: Models, old: str, new: str) -> None:
    path, saved = models.save(old)
    model = models.make(new, *OTHER_SIZES, seed=1)
    own = {name: x.clone() for name, x in model.state_dict().items()}
    RelationCheckpointer(model, vocabulary=OTHERS).load(path)
    found = model.state_dict()
    assert all(torch.equal(found[f"{HEAD}{name}"], own[f"{HEAD}{name}"]) for name in NAMES[new])
    bias = "relation_head.pair_classifier.spatial.mlp.4.bias"
    assert torch.equal(found[bias][1:], saved.state_dict()[bias]) and found[bias][0] == own[bias][0]


@forms_of_both("sparse-dense")
def test_a_table_of_other_classes_without_names_is_refused(models: Models, old: str, new: str) -> None:
    path, _ = models.save(old, vocabulary=None)
    with pytest.raises(ValueError, match=rf"{path}.*NUM_CLASSES"):
        RelationCheckpointer(models.make(new, *OTHER_SIZES)).load(path)


@forms_of_both("sparse-sparse")
def test_a_damaged_table_is_refused_by_name(models: Models, old: str, new: str) -> None:
    path, _ = models.save(old)
    model = models.make(new, seed=1, counted=False)
    damages = {"log_prior": torch.nan, "log_prior_rows": torch.nan, "row_of_pair": 99}
    for name in NAMES[old]:
        checkpoint = torch.load(path, weights_only=True)
        del checkpoint["sha256"]  # whose writer damaged it before
        checkpoint["model"][f"{HEAD}{name}"][..., 0] = damages[name]
        torch.save(checkpoint, f"{path}.damaged.pth")
        with pytest.raises(
            ValueError, match=r"damaged\.pth (does not fit|has 1 parameters that are not fin)"
        ):
            RelationCheckpointer(model, complete=True).load(f"{path}.damaged.pth")


@pytest.mark.parametrize("form", FORMS)
def test_a_table_that_is_not_counted_is_not_saved(models: Models, form: str) -> None:
    model = models.make(form, counted=False)
    with pytest.raises(FloatingPointError, match="semantic"):
        RelationCheckpointer(model, str(models.folder)).save("model")


def test_published_weights_convert_for_a_model_with_a_sparse_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", 0)
    widths = Widths()
    options = [*widths.vgg_options(), "MODEL.ROI_RELATION_HEAD.SEMANTIC.LEARNABLE", "False"]
    like = model_without_memory(load_config(str(CONFIGS / "vrd" / "reldn_vgg16_coco.yaml"), options))
    converted = convert(shapes_alone(reldn_shapes(widths, vgg=True)), like)
    assert {name: x.shape for name, x in converted.items()} == {name: x.shape for name, x in like.items()}
    assert f"{HEAD}log_prior" in converted
