"""Changes of a model that keep its meaning: each a module with its options, needs, and what it reduces."""
