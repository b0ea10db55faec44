"""The stages of a run: from a checked config to results and files."""
