"""Answers that are sampled from a policy, and how far two policies are apart on them."""
