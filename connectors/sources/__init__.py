"""Where agent logs come from."""
