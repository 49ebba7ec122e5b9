"""Networks that edgekit did not make, as graphs of standard layers that passes can change."""
