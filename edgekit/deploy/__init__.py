"""What a build folder holds for those who run its network without edgekit: `run.py`, and the folder `deploy`."""
