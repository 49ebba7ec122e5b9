"""Programs that run on a board: each is one file that imports nothing of edgekit and prints one JSON object."""
