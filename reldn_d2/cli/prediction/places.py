"""Names in the output folder of `reldn predict`."""

#: Folder with the record of the run, and its files: what the run depends on, and what is finished.
RECORD, RUN_FILE, JOURNAL = "record", "run.json", "finished.jsonl"
#: List of the images without results.
FAILURES = "failures.csv"
