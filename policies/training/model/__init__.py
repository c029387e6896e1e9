"""The base model with its adapters, its tokenizer and what is made of messages."""
