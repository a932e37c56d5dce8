"""Fits the semantic tables of checkpoints, which have one of two forms, to those of a model."""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

from torch import Tensor, nn

from reldn_d2.modeling import SemanticModule


def semantic_modules(model: nn.Module) -> dict[str, SemanticModule]:
    """What stands before the names of a semantic module's tensors -> the module, for each in a model."""
    return {
        f"{path}.": module for path, module in model.named_modules() if isinstance(module, SemanticModule)
    }


def adopt_forms(weights: MutableMapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Changes the tables of a checkpoint to the forms of the model's, in place. Those of other classes stay.

    Args:
        weights: weights of the checkpoint.
        model: model that they are for.
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: a table is damaged.
    """
    with _naming(source):
        for prefix, module in _named_in(weights, model):
            module.adopt_form(weights, prefix)


def adopt_lengths(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Gives the tables of a model as many rows as those of a checkpoint have.

    Args:
        weights: weights of the checkpoint, after `adopt_forms`, and for the classes of the model.
        model, source: see `adopt_forms`.

    Raises:
        ValueError: a table is damaged, or of other classes than the model.
    """
    with _naming(source):
        for prefix, module in _named_in(weights, model):
            module.adopt_length(weights, prefix)
            for name in (f"{prefix}{name}" for name in module.other_names()):
                if name in weights:
                    raise ValueError(
                        f"its table {name}, {tuple(weights[name].shape)}, is of other numbers of classes "
                        f"than the model's, {module.shape} (entity classes, entity classes, predicates + 1). "
                        "Check NUM_CLASSES and NUM_PREDICATES in the config"
                    )


def with_dense_tables(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model with dense tables, which every model of these classes loads."""
    state_dict: dict[str, Tensor] = model.state_dict()
    for prefix, module in semantic_modules(model).items():
        module.to_dense_form(state_dict, prefix)
    return state_dict


def _named_in(weights: Mapping[str, Tensor], model: nn.Module) -> list[tuple[str, SemanticModule]]:
    """As `semantic_modules`, for a checkpoint that may be of a model wrapped for several processes."""
    wrapper = "module." if all(name.startswith("module.") for name in weights) else ""
    return [(f"{wrapper}{prefix}", module) for prefix, module in semantic_modules(model).items()]


@contextmanager
def _naming(source: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source} does not fit the model: {error}") from error
