"""Training that keeps, moves and multiplies the kept weights alone: no dense weight, gradient or momentum exists."""
