"""What a judge is shown, how it must answer, and what follows from it."""
