"""What the assembler is judged against, each as plainly as its paper defines it.

Those that need no training choose a genotype (`Method`); the others train a network for one task (`Trained`).
"""
