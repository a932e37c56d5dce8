"""Names of the compared models, as tables and pictures show them."""

FREQUENCY = "frequency only"
WITHOUT_PIXELS = "semantic + spatial"
BASELINE = "L0"
FULL = "L0+L1+L2+L3"
