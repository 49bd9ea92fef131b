"""The least that a script must do to compress a table: import torch, load, one Gram pass, one projection, save.

No checks, no error report, no other tensors, no atomic write, everything in memory: the floor for the whole command.
"""

import sys

import torch
from safetensors.torch import load_file, save_file

BLOCK_ROWS = 8192
RANK = 8

if __name__ == "__main__":
    source, target = sys.argv[1:]
    values = load_file(source)["embedding.weight"]
    gram = torch.zeros(values.shape[1], values.shape[1], dtype=torch.float64)
    for block in values.split(BLOCK_ROWS):
        gram += block.T @ block
    bases = torch.linalg.eigh(gram).eigenvectors[:, -RANK:].T.float().contiguous()
    weights = values @ bases.T
    save_file({"embedding.weight.bases": bases, "embedding.weight.weights": weights}, target)
