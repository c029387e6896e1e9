"""The tests mirror the rooms; each opens with a sentence of behaviour."""
