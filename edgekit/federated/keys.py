"""Who may speak to whom: the server's certificate, and a key for every node.

    keys/   ca.key ca.pem server.key server.pem nodes.json     stays on the server
    pi-1/   node.key ca.pem node.json                          goes to the board

Private keys are made here and written once, to files that only their owner may read; the server keeps no node's private key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from edgekit.core.errors import BadInputError, MissingExtraError, UsageError
from edgekit.core.records import read_json
from edgekit.federated.allow_list import FILE as ALLOW_LIST
from edgekit.federated.allow_list import AllowList, Node, now_utc, read_allow_list
from edgekit.federated.private_files import locked, private_folder, read_private, write_private

if find_spec("cryptography") is None:
    raise MissingExtraError("keys need cryptography", hint="pip install 'edgekit[federated]'")

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgekit.federated.certificates import authority, certificate_bytes, key_bytes, new_key, server_certificate

_BUNDLE_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerKeys:
    """The files of a server's folder."""

    folder: Path

    @property
    def authority_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    def check(self, *, now: datetime | None = None) -> None:
        """Before a server starts. Raises BadInputError where a file lacks, is open to others, or has expired."""
        hint = f"edgekit federated keys init {self.folder}"
        for path in (self.key, self.folder / ALLOW_LIST):
            read_private(path, hint=hint)
        for path in (self.certificate, self.authority):
            expires = _certificate(path, hint=hint).not_valid_after_utc
            if expires <= (now or now_utc()):
                raise BadInputError(f"{path} has expired on {expires:%Y-%m-%d}", hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """What a board needs to take part."""

    name: str
    expires_at: str
    authority: bytes
    private_key: ec.EllipticCurvePrivateKey


def init(folder: Path, *, hosts: Sequence[str], valid_days: int = 365, now: datetime | None = None) -> ServerKeys:
    """Makes what a server needs: an authority, its certificate for `hosts` (names or addresses that clients call), an empty list.

    In a folder that has them the authority and the list stay, and the certificate is made anew: for other hosts, or for another
    year. Raises UsageError, BadInputError.
    """
    if not hosts:
        raise UsageError("a certificate needs the names that clients call the server by", hint="give --host")
    moment = now or now_utc()
    keys = ServerKeys(folder=private_folder(folder))
    with locked(folder):
        if not keys.authority_key.exists():
            own_key = new_key()
            write_private(keys.authority, certificate_bytes(authority(own_key, now=moment)))
            write_private(keys.authority_key, key_bytes(own_key))
        if not (folder / ALLOW_LIST).exists():
            AllowList().write(folder)
        hint = f"move {folder} away and start again: every node has to be enrolled again"
        key = new_key()
        certificate = server_certificate(
            key,
            hosts=hosts,
            signed_by=_certificate(keys.authority, hint=hint),
            signing_key=_private_key(keys.authority_key, hint=hint),
            now=moment,
            days=valid_days,
        )
        write_private(keys.key, key_bytes(key))
        write_private(keys.certificate, certificate_bytes(certificate))
    return keys


def enroll(folder: Path, name: str, *, bundle: Path, valid_days: int = 365, now: datetime | None = None) -> Node:
    """Makes a key for a node, puts it on the list and writes the `bundle` to copy to the board. A running server knows it at once.

    Raises UsageError where the name is taken or the bundle exists, BadInputError.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot be the name of a node', hint="use at most 63 letters, digits, dots and hyphens"
        )
    if bundle.exists():
        raise UsageError(f"{bundle} exists", hint="choose another folder with -o")
    moment = now or now_utc()
    expires = moment + timedelta(days=valid_days)
    key = new_key()
    with locked(_existing(folder)):
        nodes, node = read_allow_list(folder).with_node(name, _public_bytes(key), now=moment, expires=expires)
        private_folder(bundle)
        write_private(bundle / "ca.pem", _read(ServerKeys(folder=folder).authority))
        write_private(bundle / "node.key", _ssh_bytes(key))
        record = {"schema_version": _BUNDLE_SCHEMA, "name": name, "expires_at": node.expires_at}
        write_private(bundle / "node.json", (json.dumps(record, indent=2) + "\n").encode())
        nodes.write(folder)
    return node


def revoke(folder: Path, name: str, *, now: datetime | None = None) -> Node:
    """Its key opens nothing any more; a running server refuses its next call. Raises UsageError, BadInputError."""
    with locked(_existing(folder)):
        nodes, node = read_allow_list(folder).without(name, now=now or now_utc())
        nodes.write(folder)
    return node


def read_bundle(folder: Path) -> Bundle:
    """Raises BadInputError."""
    hint = "copy the folder that `edgekit federated keys enroll` wrote"
    record = read_json(folder / "node.json", schema_version=_BUNDLE_SCHEMA)
    content = read_private(folder / "node.key", hint=hint)
    try:
        key = serialization.load_ssh_private_key(content, password=None)
    except ValueError as error:
        raise BadInputError(f"{folder / 'node.key'} is not a key", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInputError(f"{folder / 'node.key'} is not a key on an elliptic curve", hint=hint)
    return Bundle(
        name=record["name"], expires_at=record["expires_at"], authority=_read(folder / "ca.pem"), private_key=key
    )


def _existing(folder: Path) -> Path:
    if not (folder / ALLOW_LIST).is_file():
        raise BadInputError(f"{folder} holds no keys", hint=f"edgekit federated keys init {folder}")
    return folder


def _read(path: Path) -> bytes:
    return read_private(path, hint="make it again")


def _certificate(path: Path, *, hint: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_private(path, hint=hint))
    except ValueError as error:
        raise BadInputError(f"{path} is not a certificate", hint=hint) from error


def _private_key(path: Path, *, hint: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_private(path, hint=hint), password=None)
    except ValueError as error:
        raise BadInputError(f"{path} is not a key", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInputError(f"{path} is not a key on an elliptic curve", hint=hint)
    return key


def _public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As Flower sends it."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ssh_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As Flower's own programs read it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
