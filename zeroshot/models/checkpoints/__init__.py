"""Checkpoint files: one format a module, one map of tensor names, identity by digest."""
