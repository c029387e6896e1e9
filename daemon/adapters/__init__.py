"""What was published once and never changes: adapters, reward models, the base model's files."""
