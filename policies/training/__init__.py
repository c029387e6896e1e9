"""The only importer of torch, transformers, trl and peft. Runs as a child process."""
