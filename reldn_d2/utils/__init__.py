"""Reading and writing files: atomic writes, digests, JSON, YAML, CSV, and the image labels of OpenImages."""
