"""What answers prompts with the policy."""
