"""Measures: scores on held-out tasks, with intervals and paired comparisons."""
