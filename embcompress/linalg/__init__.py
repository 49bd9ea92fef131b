"""Numerics over blocks of rows: torch and the standard library only, no file, no console."""
