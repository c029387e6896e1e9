"""The composition: settings in, parts out."""
