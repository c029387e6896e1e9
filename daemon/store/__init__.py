"""The store: the only room that speaks SQL. Sessions do not leave this folder."""
