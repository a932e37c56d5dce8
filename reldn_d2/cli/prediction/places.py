"""Names in the output folder of `reldn predict`."""

from reldn_d2.data.sources import local_files

#: Folder with the record of the run, and its files: what the run depends on, and what is finished.
RECORD, RUN_FILE, JOURNAL = local_files.RECORD, local_files.RUN_FILE, "finished.jsonl"
#: List of the images without results.
FAILURES = "failures.csv"
