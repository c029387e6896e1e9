"""Stored judge texts, read again: no model is asked."""
