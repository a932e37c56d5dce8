"""The checker: counts and problems of a data set. It accepts invalid dicts, and reports their errors."""
