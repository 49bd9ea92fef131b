"""What an artifact leaves of its original: errors, neighbours, checks, gates."""
