"""The configuration of a run: its schema, its validation, and its composition by Hydra."""
