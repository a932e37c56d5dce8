"""Small data sets in every format, whole and damaged: one module a format, `test_damage.py` runs them all."""
