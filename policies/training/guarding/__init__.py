"""What is measured during a run, and when that ends it."""
