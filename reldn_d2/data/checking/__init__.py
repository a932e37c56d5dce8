"""The checker of data sets: counts and problems. It reads dicts that no loader has checked, and reports instead of raising."""
