"""Reading and writing files: atomic writes, digests, JSON, CSV, and the image labels of OpenImages."""
