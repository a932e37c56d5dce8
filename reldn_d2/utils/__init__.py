"""Files: writing them at once, reading text and JSON, digests."""
