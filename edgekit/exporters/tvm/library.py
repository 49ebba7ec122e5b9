"""Shared libraries: compiled from Relax modules, with a record of our own in a section that is read without running them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import BadInputError
from edgekit.core.records import write_bytes
from edgekit.exporters.tvm.toolchain import require

_SECTION: Final = ".edgekit"
_ARCHITECTURES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
# Names of functions within the library are of no use on the board, and the record must be the same from the same network.
_LINKING = ("-s", "-Wl,--build-id=none")


def compile_library(module: Any, target: Any, linker: str, path: Path, record: Mapping[str, Any]) -> None:
    """Writes a scheduled Relax module for a `tvm.target.Target` to `path`, weights inside, `record` as JSON in a section.

    The same arguments make the same bytes. Raises whatever TVM, LLVM and the linker raise.
    """
    from tvm import relax

    executable = relax.build(
        module, target=target, relax_pipeline=relax.pipeline.default_build_pipeline(), exec_mode="compiled"
    )
    _link(executable.mod, linker, path, record)


def link_functions(functions: Mapping[str, Any], target: Any, linker: str, path: Path) -> None:
    """Writes scheduled `tvm.tirx.PrimFunc`s to a library, each under its name. Raises whatever TVM, LLVM and the linker raise."""
    import tvm

    module = tvm.IRModule({name: function.with_attr("global_symbol", name) for name, function in functions.items()})
    with target:
        built = tvm.tirx.build(module, target=target)
    _link(built, linker, path, {})


def _link(module: Any, linker: str, path: Path, record: Mapping[str, Any]) -> None:
    from tvm.support.cc import cross_compiler

    with tempfile.TemporaryDirectory(prefix="edgekit-tvm-") as name:
        folder = Path(name)
        content, section = folder / "record.json", folder / "record.s"
        content.write_bytes(json.dumps(record, ensure_ascii=False, sort_keys=True).encode())
        section.write_text(f'.section {_SECTION},"",%progbits\n.incbin "{content.name}"\n', encoding="ascii")
        made = folder / "made.so"
        link = cross_compiler(linker, options=[*_LINKING, f"-Wa,-I{folder}"])
        module.export_library(str(made), fcompile=link, addons=[str(section)], workspace_dir=str(folder))
        write_bytes(path, made.read_bytes())


def read_record(path: Path) -> dict[str, Any]:
    """What `compile_library` was given. Raises BadInputError for a file that is damaged or not of edgekit, MissingExtraError."""
    require("elftools")
    from elftools.common.exceptions import ELFError

    try:
        with path.open("rb") as file:
            section = _elf(file).get_section_by_name(_SECTION)
            content = None if section is None else section.data()
        record = {} if content is None else json.loads(content)
    except OSError as error:
        raise BadInputError(
            f"cannot read {path}: {error.strerror}", hint="give a .so file that edgekit built"
        ) from error
    except (ELFError, ValueError, RecursionError) as error:
        raise BadInputError(
            f"{path} is damaged or not a shared library: {error}", hint="give a .so file that edgekit built"
        ) from error
    if not isinstance(record, dict) or not record:
        raise BadInputError(f"{path} was not built by edgekit", hint="give a .so file that edgekit built")
    return record


def architecture_of(path: Path) -> str:
    """Such as `aarch64`. Raises BadInputError, MissingExtraError."""
    require("elftools")
    from elftools.common.exceptions import ELFError

    try:
        with path.open("rb") as file:
            machine = str(_elf(file).header["e_machine"])
    except (OSError, ELFError) as error:
        raise BadInputError(
            f"{path} is not a shared library: {error}", hint="give a .so file that edgekit built"
        ) from error
    return _ARCHITECTURES.get(machine, machine)


def _elf(file: Any) -> Any:
    from elftools.elf.elffile import ELFFile

    return ELFFile(file)
