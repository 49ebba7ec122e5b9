"""What works here, what does not, and the line to run for it."""
