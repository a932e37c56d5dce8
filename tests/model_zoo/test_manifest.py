"""The list of models: every entry is complete, its files are there, and the pages show it."""



