"""Builds beside each other: what is read of a folder, what may be compared, and conditions."""
