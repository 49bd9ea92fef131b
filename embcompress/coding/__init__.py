"""Coded (quantized) weights: levels, the trellis, which column gets how many bits. No file, no console."""
