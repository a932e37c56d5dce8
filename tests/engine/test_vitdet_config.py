"""RelDN on a plain vision transformer: both stages of configs/lazy/vrd_*_vitdet_b.py."""

from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from detectron2.data import MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig

from reldn_d2.engine import Trainer, evaluate
from reldn_d2.engine.lazy import load_lazy_config
from reldn_d2.modeling import RelDN
from tests.builders.tiny_models import REPOSITORY, make_input

DETECTOR = str(REPOSITORY / "configs" / "lazy" / "vrd_detector_vitdet_b.py")
RELDN = str(REPOSITORY / "configs" / "lazy" / "vrd_reldn_vitdet_b.py")


def reduced(config: str, output: Path) -> DictConfig:
    """A config at reduced width and depth, on a handful of scenes of 64 pixels."""
    cfg = load_lazy_config(config, [f"train.output_dir={output}", "train.device=cpu", "train.max_iter=1"])
    model = cfg.model
    vit = model.backbone.net
    vit.embed_dim, vit.depth, vit.num_heads = 32, 2, 2
    vit.img_size, vit.window_size, vit.window_block_indexes = 64, 4, [0]
    model.backbone.out_channels = model.proposal_generator.head.in_channels = 16
    model.backbone.square_pad = 64
    model.proposal_generator.post_nms_topk = (50, 30)
    heads = model.roi_heads
    heads.num_classes, heads.batch_size_per_image = 6, 16
    heads.box_head.input_shape = ShapeSpec(channels=16, height=7, width=7)
    heads.box_head.conv_dims, heads.box_head.fc_dims = [16], [32]
    heads.box_predictor.input_shape = ShapeSpec(channels=32)
    heads.box_predictor.test_score_thresh = 0.0
    heads.box_predictor.test_topk_per_image = 8
    if "relation_head" in model:
        model.relation_head.num_predicates = 7
        cfg.dataloader.evaluator.protocols.names = ["motifs"]
    cfg.datasets.train, cfg.datasets.test = ["reldn_scenes_tiny_train"], "reldn_scenes_tiny_test"
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.num_workers = 0
        loader.mapper.augmentations[0].short_edge_length = [64]
        loader.mapper.augmentations[0].max_size = 64
    cfg.dataloader.train.total_batch_size = 2
    cfg.lr_multiplier.scheduler.values, cfg.lr_multiplier.scheduler.milestones = [1.0], []
    cfg.lr_multiplier.warmup_length = 0.0
    return cfg


@pytest.fixture
def meta_device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    # Detectron2's ViT reads the numbers of a linspace while it is built.
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))
    return torch.device("meta")


@pytest.mark.parametrize(("config", "kind"), [(DETECTOR, GeneralizedRCNN), (RELDN, RelDN)])
def test_it_builds_at_full_size(config: str, kind: type, meta_device: torch.device) -> None:
    cfg = load_lazy_config(config)
    with meta_device:
        model = instantiate(cfg.model)
    assert type(model) is kind
    assert len(model.backbone.net.blocks) == 12 and model.backbone.net.pos_embed.shape[-1] == 768
    assert model.roi_heads.num_classes == len(MetadataCatalog.get("reldn_vrd_train").thing_classes)
    assert not model.roi_heads.mask_on and model.input_format == "RGB"
    cfg.optimizer.params.model = model
    assert isinstance(instantiate(cfg.optimizer), torch.optim.AdamW)
    assert instantiate(cfg.lr_multiplier)(0.5) == 1.0


def test_the_predicate_backbone_is_a_transformer_of_the_same_shape(meta_device: torch.device) -> None:
    cfg = load_lazy_config(RELDN)
    with meta_device:
        model = instantiate(cfg.model)
    shapes = [
        {name: x.shape for name, x in part.named_parameters()}
        for part in (model.backbone, model.relation_backbone)
    ]
    assert shapes[0] == shapes[1] and len(shapes[0]) > 150
    trained = {name for name, x in model.named_parameters() if x.requires_grad}
    assert "relation_backbone.net.blocks.11.mlp.fc1.weight" in trained
    assert not any(name.startswith(("backbone.", "roi_heads.", "proposal_generator.")) for name in trained)
    norms = [name for name, _ in model.relation_backbone.named_parameters() if "norm" in name]
    assert len(norms) > 50 and not any(f"relation_backbone.{name}" in trained for name in norms)


def test_the_two_stages_run_at_reduced_width(tmp_path: Path) -> None:
    stage1 = reduced(DETECTOR, tmp_path / "detector")
    stage1.train.init_checkpoint = ""
    training = Trainer(stage1)
    training.resume_or_load(resume=False)
    training.train()
    assert training.storage.latest()["bbox/AP50"][0] >= 0
    detector = tmp_path / "detector" / "model_final.pth"
    weights = torch.load(detector)["model"]

    stage2 = reduced(RELDN, tmp_path / "reldn")
    stage2.train.init_checkpoint = str(detector)
    training = Trainer(stage2)
    training.resume_or_load(resume=False)
    state = training.model.state_dict()
    for target, source in (
        ("relation_backbone.", "backbone."),
        ("relation_head.pair_classifier.object_head.", "roi_heads.box_head."),
    ):
        names = [name for name in state if name.startswith(target)]
        assert names
        for name in names:
            assert torch.equal(state[name], weights[source + name.removeprefix(target)]), name
    training.train()

    after = torch.load(tmp_path / "reldn" / "model_final.pth")["model"]
    changed = {
        name for name, value in after.items() if name not in weights or not torch.equal(value, weights[name])
    }
    assert all(name.startswith("relation_") for name in changed)
    block = "net.blocks.0.attn.qkv.weight"
    assert not torch.equal(after[f"relation_backbone.{block}"], weights[f"backbone.{block}"])
    stage2.model.task = "prdcls"
    stage2.train.init_checkpoint = str(tmp_path / "reldn" / "model_final.pth")
    assert evaluate(stage2)["prdcls/motifs"]["R@100"] > 0


def test_losses_reach_every_part_that_is_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cfg = reduced(RELDN, tmp_path)
    model = instantiate(cfg.model)
    model.relation_head.set_predicate_counts(instantiate(cfg.dataloader.statistics))
    batch = [make_input(4, [(0, 1, 2), (2, 3, 0)], size=64), make_input(3, [(1, 0, 5)], seed=1, size=48)]
    with EventStorage(0):
        losses = model.train()(batch)
    sum(losses.values()).backward()
    assert len(losses) == 4 and all(loss.isfinite() for loss in losses.values())
    untouched = {
        name
        for name, x in model.named_parameters()
        if x.requires_grad and (x.grad is None or not x.grad.any())
    }
    # The predicate boxes are small: their features come from the finest map alone.
    assert all(name.startswith(("relation_backbone.simfp_", "relation_backbone.net.")) for name in untouched)
    assert not any("simfp_2" in name or ("blocks" in name and "rel_pos" not in name) for name in untouched)
