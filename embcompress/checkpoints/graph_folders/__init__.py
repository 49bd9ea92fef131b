"""Folders that toolkits for knowledge graphs write: DGL-KE and PyTorch-BigGraph."""
