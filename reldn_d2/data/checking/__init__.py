"""The checker: counts and problems of a data set. It reads unchecked dicts, and reports what is wrong."""
