"""Rows for new ids: where they go, how they are made, how they are written."""
