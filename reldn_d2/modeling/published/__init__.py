"""The published code's conventions in inference, to reproduce the results of its checkpoints.

| file | convention |
|---|---|
| `boxes.py` | first and last pixels; clipping; suppression at equal IoU |
| `proposals.py` | rounded anchors; proposals in the padded network input |
| `image_frame.py` | the scale between image and network input |
| `roi_heads.py` | pooling; detection in pixels of the image; falling score threshold |
| `relation_head.py` | spatial features |
| `meta_arch.py` | `PublishedRelDN`, which combines them |
"""

from .meta_arch import PUBLISHED_PARTS, PUBLISHED_PIXELS, PublishedRelDN, refuse_published_parts
from .proposals import RelDNPublishedRPN, RelDNRoundedAnchorGenerator
from .relation_head import PublishedRelDNHead
from .roi_heads import RelDNPublishedROIHeads

__all__ = [
    "PUBLISHED_PARTS",
    "PUBLISHED_PIXELS",
    "PublishedRelDN",
    "PublishedRelDNHead",
    "RelDNPublishedROIHeads",
    "RelDNPublishedRPN",
    "RelDNRoundedAnchorGenerator",
    "refuse_published_parts",
]
