"""What `make bench` measures: ratios against the thing compared to, side by side in one run."""
