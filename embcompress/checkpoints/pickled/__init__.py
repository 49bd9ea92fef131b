"""Pickles, read without running anything: what they hold, and where its bytes lie."""
