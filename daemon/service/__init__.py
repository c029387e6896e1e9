"""The life of `rlaifd run`: loops, health, signals, the lead."""
