"""What a run will do, decided before it: explicit numbers, memory, time. Free of torch."""
