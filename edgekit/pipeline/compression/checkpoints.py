"""Where long passes keep what they have come to, until the compression is finished or has failed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from edgekit.core.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.core.model import Model
    from edgekit.pipeline.compression.data import Data
    from edgekit.pipeline.compression.plan import CompressionPlan


@contextmanager
def checkpoints(planned: CompressionPlan, original: Model, data: Data) -> Iterator[Path]:
    """A folder in the user's cache that the same plan, network and inputs find again after an interruption.

    It is gone where the compression ends by itself, well or not.
    """
    digest = sha256(json.dumps(planned.to_json(), sort_keys=True).encode())
    digest.update(original.provenance["sha256"].encode())
    for samples in (data.training, data.judging):
        digest.update(samples.x_N.numpy().tobytes())
    folder = user_cache_path("edgekit") / "compress" / digest.hexdigest()[:16]
    try:
        yield folder
    except EdgekitError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
