"""The course over Flower: the only folder that knows it. Flower is told, before it is imported, to report nothing to its makers, to
look for no newer version of itself, and to install nothing."""

import os

from edgekit.federated.flower.library import QUIET, require_flower

require_flower()
os.environ.update(QUIET)
