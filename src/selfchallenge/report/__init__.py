"""Shows: the page of a run, and the table at its end."""
