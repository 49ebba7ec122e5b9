"""From a task and a board to a verified model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit.version import VERSION

if TYPE_CHECKING:
    from edgekit.core.budget import Budget, Share
    from edgekit.core.errors import EdgekitError
    from edgekit.pipeline.build import build
    from edgekit.pipeline.check import verify
    from edgekit.pipeline.compare import ComparisonResult, compare
    from edgekit.pipeline.compress import CompressionResult, compress
    from edgekit.pipeline.doctor.doctor import doctor
    from edgekit.pipeline.early_exit import EarlyExitResult, build_early_exit
    from edgekit.pipeline.fleet.fleet import fleet
    from edgekit.pipeline.fleet.result import FleetResult
    from edgekit.pipeline.predict import predict
    from edgekit.pipeline.profile import Profile, profile
    from edgekit.pipeline.result import BuildResult
    from edgekit.pipeline.variants import VariantsResult, build_variants

__all__ = [
    "Budget",
    "BuildResult",
    "ComparisonResult",
    "CompressionResult",
    "EarlyExitResult",
    "EdgekitError",
    "FleetResult",
    "Profile",
    "Share",
    "VariantsResult",
    "__version__",
    "build",
    "build_early_exit",
    "build_variants",
    "compare",
    "compress",
    "doctor",
    "fleet",
    "predict",
    "profile",
    "verify",
]

__version__ = VERSION

_MODULES = {
    "Budget": "edgekit.core.budget",
    "BuildResult": "edgekit.pipeline.result",
    "ComparisonResult": "edgekit.pipeline.compare",
    "CompressionResult": "edgekit.pipeline.compress",
    "EarlyExitResult": "edgekit.pipeline.early_exit",
    "EdgekitError": "edgekit.core.errors",
    "FleetResult": "edgekit.pipeline.fleet.result",
    "Profile": "edgekit.pipeline.profile",
    "Share": "edgekit.core.budget",
    "VariantsResult": "edgekit.pipeline.variants",
    "build": "edgekit.pipeline.build",
    "build_early_exit": "edgekit.pipeline.early_exit",
    "build_variants": "edgekit.pipeline.variants",
    "compare": "edgekit.pipeline.compare",
    "compress": "edgekit.pipeline.compress",
    "fleet": "edgekit.pipeline.fleet.fleet",
    "doctor": "edgekit.pipeline.doctor.doctor",
    "predict": "edgekit.pipeline.predict",
    "profile": "edgekit.pipeline.profile",
    "verify": "edgekit.pipeline.check",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: `edgekit --help` must not wait for numpy and torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'edgekit' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
