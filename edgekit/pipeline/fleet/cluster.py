"""Builds members of a fleet on a Ray cluster."""
