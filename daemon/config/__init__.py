"""rlaifd.yaml: read, checked, made a frozen tree."""
