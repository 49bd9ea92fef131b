"""The compressed file: its schema, reading it, writing it, and its rows multiplied out."""
