"""Tables whose rows are read from the file of an artifact when they are looked up."""
