"""Detectron2's ViTDet with ViT-B, without masks."""

from detectron2.model_zoo import get_config

model = get_config("common/models/mask_rcnn_vitdet.py").model
for _mask in ("mask_in_features", "mask_pooler", "mask_head"):
    model.roi_heads.pop(_mask)
