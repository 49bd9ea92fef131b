"""The kind of a zip archive, told by the name of its first member."""

from __future__ import annotations

KERAS_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


def first_member(head: bytes) -> str:
    """Tell the name of the first member of a zip archive by the first bytes of the file; empty where it is none."""
    length = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + length].decode("utf-8", "replace") if head.startswith(b"PK\x03\x04") else ""
