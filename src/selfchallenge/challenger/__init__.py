"""Writes tasks: explores with the tools, then turns what was executed into a Code-as-Task."""
