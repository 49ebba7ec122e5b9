"""The way of a compression: a foreign network in, passes, the smallest verified file out."""
