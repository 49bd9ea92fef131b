"""Folders of Hugging Face, on disk and on the hub."""
