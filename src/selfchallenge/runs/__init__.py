"""Remembers: the run directory and the files of records in it."""
