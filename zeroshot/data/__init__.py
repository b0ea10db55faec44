"""Labelled images: one kind of data set a file; knows no config."""
