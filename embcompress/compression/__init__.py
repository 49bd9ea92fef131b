"""From tables to the tensors of an artifact: by a number of bases, or within a size or an error."""
