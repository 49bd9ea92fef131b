"""From the tensors of a checkpoint to its embedding tables: recognised, chosen, read row by row."""
