"""The board's file system: Debian's arm64 packages and Python wheels, unpacked into a folder of the user's cache.

Nothing of it is installed on this machine: apt works in a state of its own, and the packages are only unpacked.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import platformdirs

from edgekit.core.records import whole_folder
from edgekit.lab.tools import LabError, run_tool, tool

PYTHON = "/usr/bin/python3.11"  # Debian 12's
WHEELS = "/opt/site"
_PYTHON_VERSION = "3.11"
_PACKAGES = (
    "coreutils",
    "dash",
    "libpython3.11-stdlib",
    "libstdc++6",
    "openssh-sftp-server",
    "python3.11-minimal",
)
_WHOLE = ("*",)
# The runtimes, as far as they are installed here: of each distribution's wheel, what is unpacked. ONNX Runtime brings its library
# twice, and tools in Python; TVM a compiler of 240 MB, though tvm_ffi and one library run what it compiled.
_RUNTIMES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {"ai-edge-litert": _WHOLE, "numpy": _WHOLE, "pillow": _WHOLE},
    {"onnxruntime": ("onnxruntime/__init__.py", "onnxruntime/capi/*.py", "onnxruntime/capi/*.so")},
    {"apache-tvm": ("tvm/lib/libtvm_runtime.so",), "apache-tvm-ffi": _WHOLE, "typing-extensions": _WHOLE},
)
_METADATA = "*.dist-info/METADATA"  # tells the version
# The wheels are built for glibc 2.27 and 2.28; Debian 12 has 2.36.
_PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
# What a running board has mounted over it, see board_shell.py.
_MOUNT_POINTS = (
    *("data/local/tmp", "dev", "home/edgekit", "proc", "run", "sys", "tmp"),
    *("lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"),
)
_MARKER = "made-by-edgekit"


def python_environment(root: Path) -> dict[str, str]:
    """For the emulator run with `-L root` and no chroot: Python asks this machine where its files lie."""
    return {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": f"{root}{WHEELS}", "PYTHONHASHSEED": "0"}


def cache_folder() -> Path:
    """Where the lab keeps what takes long to make: the user's cache, `XDG_CACHE_HOME` honoured."""
    return platformdirs.user_cache_path("edgekit") / "lab"


def make_sysroot(*, progress: Callable[[str], None]) -> Path:
    """The folder of the board's file system, made where the cache has none of these packages and versions. It has the runtimes
    that are installed on this machine.

    Raises LabError where the packages cannot be had, MissingExtraError, BadInputError.
    """
    wheels = tuple(wheel for runtime in _RUNTIMES for wheel in _installed(runtime))
    recipe = hashlib.sha256(Path(__file__).read_bytes() + "\n".join(wheels).encode()).hexdigest()
    sysroot = cache_folder() / f"sysroot-{recipe[:16]}"
    if (sysroot / _MARKER).is_file():
        return sysroot
    with whole_folder(sysroot, overwrite=True, marker=_MARKER) as working:
        progress("download arm64 packages")
        with tempfile.TemporaryDirectory(prefix="edgekit-apt-") as state:
            packages = _download_packages(Path(state))
            progress("unpack them")
            _unpack(packages, working)
        progress(f"install {', '.join(wheels)} for aarch64")
        _install_wheels(wheels, working)
        progress("compile Python files")
        _compile(working)
        (working / _MARKER).write_text("\n".join((*_PACKAGES, *wheels)) + "\n")
    return sysroot


def _download_packages(state: Path) -> list[Path]:
    """Of this machine's own mirrors, by an apt that knows of nothing but them and arm64."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text("".join(f"deb [arch=arm64] {source} main\n" for source in _debian_sources()))
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache": state / "cache",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": state / "state",
        "Dir::State::Status": state / "status",
    }
    apt = [tool("apt-get"), "-q", "-y", *(f"-o{name}={value}" for name, value in settings.items())]
    run_tool([*apt, "update"], doing="reading the list of arm64 packages", timeout_s=120)
    run_tool([*apt, "install", "--download-only", *_PACKAGES], doing="downloading arm64 packages", timeout_s=180)
    return sorted((state / "cache/archives").glob("*.deb"))


def _debian_sources() -> list[str]:
    """Address and suite of each source of Debian itself that this machine installs from."""
    lines = run_tool(
        [
            *(tool("apt-get"), "indextargets", "--format", "$(REPO_URI) $(RELEASE)"),
            *("Created-By: Packages", "Origin: Debian", "Component: main"),
        ],
        doing="asking apt for its sources",
        timeout_s=30,
    ).splitlines()
    if not lines:
        raise LabError("apt knows no Debian packages", hint="run apt-get update, on Debian 12")
    return sorted(set(lines))


def _unpack(packages: list[Path], root: Path) -> None:
    for package in packages:
        run_tool([tool("dpkg-deb"), "--extract", package, root], doing=f"unpacking {package.name}", timeout_s=60)
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    # The one user inside; sftp-server does not serve a nameless one.
    (root / "etc/passwd").write_text("root:x:0:0:root:/home/edgekit:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def _installed(runtime: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Its distributions in the versions of this machine; none where it lacks one."""
    try:
        return tuple(f"{name}=={importlib.metadata.version(name)}" for name in runtime)
    except importlib.metadata.PackageNotFoundError:
        return ()


def _install_wheels(wheels: tuple[str, ...], root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="edgekit-wheels-") as folder:
        run_tool(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--dest", folder, "--python-version", _PYTHON_VERSION),
                *(option for platform in _PLATFORMS for option in ("--platform", platform)),
                *("--only-binary=:all:", "--no-deps", *wheels),
            ],
            doing="downloading wheels for aarch64",
            timeout_s=240,
        )
        for path in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(root / WHEELS.lstrip("/"), members=_needed(wheel))


def _needed(wheel: zipfile.ZipFile) -> Iterator[str]:
    distribution = Path(str(wheel.filename)).name.split("-")[0].replace("_", "-")
    (patterns,) = (runtime[distribution] for runtime in _RUNTIMES if distribution in runtime)
    for member in wheel.namelist():
        if any(fnmatch(member, pattern) for pattern in (*patterns, _METADATA)):
            yield member


def _compile(root: Path) -> None:
    """Once for all: the board cannot write beside its files, and compiling is most of what an import takes there."""
    run_tool(
        [
            *(tool("qemu-aarch64"), "-L", root, root / PYTHON.lstrip("/"), "-S", "-m", "compileall", "-q"),
            *("--invalidation-mode", "unchecked-hash", "-x", "/(tests?|f2py|distutils|lib2to3)/"),
            *(root / WHEELS.lstrip("/"), root / "usr/lib/python3.11"),
        ],
        doing="compiling Python files",
        timeout_s=240,
        environment=python_environment(root),
    )
