"""The stages: claim, do, commit. They meet only in the store."""
