"""Repeats the paper's tables and figures: one declarative file an experiment."""
