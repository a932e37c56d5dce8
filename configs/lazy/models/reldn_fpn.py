"""RelDN on Detectron2's Faster R-CNN with a ResNet-50 feature pyramid.

The relation part refers to the parts of the detector that it copies. So a config that changes the detector,
its backbone or its box head changes the copies, too.
"""

from detectron2.config import LazyConfig

from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.modeling import relation_model

detector = LazyConfig.load(get_detectron2_config_file("common/models/mask_rcnn_fpn.py")).model
for _mask in ("mask_in_features", "mask_pooler", "mask_head"):
    detector.roi_heads.pop(_mask)

model = relation_model(detector, num_predicates=9)
