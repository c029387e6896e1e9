"""Real servers for the tests that need one."""
