"""Sections of the one file `run.py`, for Python 3.9 and later, importing nothing of edgekit but each other."""
