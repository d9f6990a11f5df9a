"""The project in the folder beside this is for a pytest of its own."""

collect_ignore = ["project"]
