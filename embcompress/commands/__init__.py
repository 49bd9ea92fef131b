"""One function a command: what the command line and Python call."""
