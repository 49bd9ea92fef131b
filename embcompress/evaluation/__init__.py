"""Comparison of an artifact with its original: errors, neighbours, checks, gates."""
