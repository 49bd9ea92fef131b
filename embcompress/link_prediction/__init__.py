"""Triples ranked before and after compression, by PyKEEN."""
