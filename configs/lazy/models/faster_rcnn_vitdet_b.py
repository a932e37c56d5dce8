"""Detectron2's ViTDet with ViT-B, without masks."""

from detectron2.config import LazyConfig

from reldn_d2.model_zoo import get_detectron2_config_file

model = LazyConfig.load(get_detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model
for _mask in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(_mask)
