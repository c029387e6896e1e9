"""Where adapters are served and answers are sampled."""
