"""Judges what a run has recorded. Pure."""
