"""Net-Trim (A. Aghasi, A. Abdi, J. Romberg, arXiv 1806.06457): a layer's sparsest weights that keep its outputs.

Pure functions on tensors: no network, no files but those of a folder that is named. Shapes: P samples of N inputs, M neurons.
"""
