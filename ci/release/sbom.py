"""The parts of a release as CycloneDX JSON: packages of an environment that holds it, and the models inside its wheel.

    python ci/release/sbom.py PYTHON WHEEL OUTPUT

PYTHON is that of the environment; cyclonedx-bom belongs to the one that runs this. With SOURCE_DATE_EPOCH set, the same environment
gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

REPO_ROOT = Path(__file__).parents[2]


def packages(python: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6"]
    command += ["--pyproject", str(REPO_ROOT / "pyproject.toml"), "--mc-type", "library", python]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def models(wheel: Path) -> list[dict[str, Any]]:
    """A component for each supernet, with its data, its licence, and the SHA-256 of each of its files of tensors."""
    components = []
    with zipfile.ZipFile(wheel) as archive:
        for card_path in sorted(name for name in archive.namelist() if name.endswith("/card.json")):
            folder = PurePosixPath(card_path).parent
            card = json.loads(archive.read(card_path))
            files = [
                {
                    "type": "file",
                    "bom-ref": f"{folder.name}/{name}",
                    "name": str(folder / name),
                    "hashes": [
                        {"alg": "SHA-256", "content": hashlib.sha256(archive.read(str(folder / name))).hexdigest()}
                    ],
                }
                for name in sorted(card["sha256"])
            ]
            components.append(
                {
                    "type": "machine-learning-model",
                    "bom-ref": folder.name,
                    "name": folder.name,
                    "description": card["data"],
                    "licenses": [{"license": {"name": card["licence"]}}],
                    "components": files,
                }
            )
    return components


def main(python: str, wheel: Path, output: Path) -> None:
    bom = packages(python)
    bom["metadata"]["component"]["version"] = wheel.name.split("-")[1]
    bom["components"] += models(wheel)
    text = json.dumps(bom, indent=2) + "\n"
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        sys.exit(f"{output}: {error}")
    output.write_text(text, encoding="utf-8")
    kinds = [component["type"] for component in bom["components"]]
    print(f"{output}: {kinds.count('library')} packages, {kinds.count('machine-learning-model')} models")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
