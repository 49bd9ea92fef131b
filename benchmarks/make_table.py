"""Write a table of random rows as a checkpoint: safetensors, torch zip, or a transposed torch tensor.

`make_table.py FILE ROWS DIM [safetensors|zip|transposed]`
"""

import sys

import torch
from safetensors.torch import save_file

if __name__ == "__main__":
    path, rows, dim, form = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.manual_seed(0)
    if form == "transposed":
        values = torch.empty(dim, rows)
        for column in values:
            column.normal_()
        torch.save({"embedding.weight": values.T}, path)
    else:
        values = torch.empty(rows, dim)
        for block in values.split(65_536):
            block.normal_().mul_(torch.linspace(2, 0.5, dim))
        if form == "zip":
            torch.save({"embedding.weight": values}, path)
        else:
            save_file({"embedding.weight": values}, path)
