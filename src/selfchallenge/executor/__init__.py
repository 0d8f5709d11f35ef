"""Attempts tasks: the agent loop, its actions, batching and the one reward."""
