"""Keeps the good ones: named checks, the gate that runs them, duplicates."""
