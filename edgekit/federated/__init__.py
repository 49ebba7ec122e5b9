"""Learning from images that stay where they are: clients train, a server averages."""
