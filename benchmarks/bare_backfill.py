"""The least that a script must do to add rows: read, draw as many, concatenate, save.

No ids, no order, no report, no checks, everything in memory: the floor for the whole command.
"""

import sys

import torch
from safetensors.torch import load_file, save_file

if __name__ == "__main__":
    source, target = sys.argv[1:]
    rows = load_file(source)["embedding.weight"]
    save_file({"embedding.weight": torch.cat([rows, torch.randn_like(rows)])}, target)
