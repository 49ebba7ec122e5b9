"""Pruning as pure functions on tensors: no files, no network, no model formats."""
