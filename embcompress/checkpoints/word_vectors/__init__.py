"""Word vectors: as text, in binary, of fastText, spaCy and gensim."""
