"""From tables to the tensors of an artifact: by a number of bases, or held to a size or an error."""
