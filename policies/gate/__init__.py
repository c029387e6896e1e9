"""Evidence in; promote, hold or reject with reasons out."""
