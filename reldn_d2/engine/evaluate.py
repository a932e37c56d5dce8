"""Evaluation of a checkpoint, as `train_net.py --eval-only` runs it."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.modeling import RelDN

from .setup import check_classes, set_predicate_statistics
from .trainer import Trainer, load_datasets


def load_model(cfg: CfgNode, *, resume: bool = False) -> nn.Module:
    """The model of a config with the weights of MODEL.WEIGHTS, in eval mode.

    Args:
        cfg: of either stage.
        resume: take the last checkpoint in OUTPUT_DIR instead, if there is one.

    Raises:
        ValueError: no weights, or weights that do not fit.
    """
    model: nn.Module = Trainer.build_model(cfg)
    # The semantic module alone: nothing in it is trained, so its table is counted anew.
    semantic_only = isinstance(model, RelDN) and not any(p.requires_grad for p in model.parameters())
    counted = (cfg.DATASETS.STATISTICS or cfg.DATASETS.TRAIN) if semantic_only else ()
    names = (*cfg.DATASETS.TEST, *counted)
    checkpointer = RelationCheckpointer(
        model,
        cfg.OUTPUT_DIR,
        vocabulary=check_classes(cfg, names),
        complete=not semantic_only,
        same_classes=True,
    )
    needs_weights = not (semantic_only and model.task == "prdcls")
    if needs_weights and not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        raise ValueError("there is nothing to evaluate: give a trained checkpoint as MODEL.WEIGHTS")
    if needs_weights:
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    if isinstance(model, RelDN) and semantic_only:
        set_predicate_statistics(model, cfg, load_datasets(cfg, counted, ()))
    model.eval()
    return model


def evaluate(cfg: CfgNode, *, resume: bool = False) -> dict[str, Any]:
    """Evaluates a checkpoint on DATASETS.TEST and checks TEST.EXPECTED_RESULTS, if given.

    Args:
        cfg, resume: as for `load_model`.

    Returns:
        See `Trainer.test`.
    """
    results: dict[str, Any] = Trainer.test(cfg, load_model(cfg, resume=resume))
    if comm.is_main_process():
        verify_results(cfg, results)
    return results
