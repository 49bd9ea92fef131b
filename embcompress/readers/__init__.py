"""Readers of artifacts that stand alone: each file is made to be copied, with the tables of symbols beside it."""
