"""Certificates and keys of nodes: who can read them, until when they hold, who gets which number."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="needs the extra federated")

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import BadInputError, UsageError
from edgekit.federated import keys
from edgekit.federated.allow_list import AllowList, LiveAllowList, Standing, now_utc, read_allow_list


@pytest.fixture
def server(tmp_path: Path) -> keys.ServerKeys:
    return keys.init(tmp_path / "keys", hosts=["fleet.example", "192.0.2.7"])


def test_only_the_owner_reads_them(server: keys.ServerKeys, tmp_path: Path) -> None:
    (tmp_path / "pi-1").parent.chmod(0o755)
    keys.enroll(server.folder, "pi-1", bundle=tmp_path / "pi-1")
    for folder in (server.folder, tmp_path / "pi-1"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_certificate_holds_for_every_name_and_is_signed(server: keys.ServerKeys) -> None:
    """By an independent judge: the verifier of web certificates."""
    authority, certificate = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (server.authority, server.certificate)
    )
    policy = PolicyBuilder().store(Store([authority]))
    for name in (x509.DNSName("fleet.example"), x509.DNSName("localhost"), *map(address, ("192.0.2.7", "127.0.0.1"))):
        chain = policy.build_server_verifier(name).verify(certificate, [])
        assert chain[-1] == authority
    with pytest.raises(x509.verification.VerificationError):
        policy.build_server_verifier(x509.DNSName("other.example")).verify(certificate, [])


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def test_a_certificate_is_renewed_and_the_nodes_stay(server: keys.ServerKeys, tmp_path: Path) -> None:
    keys.enroll(server.folder, "pi-1", bundle=tmp_path / "pi-1")
    before = server.authority.read_bytes(), read_allow_list(server.folder), server.certificate.read_bytes()
    late = now_utc() + timedelta(days=400)
    with pytest.raises(BadInputError, match="has expired"):
        server.check(now=late)
    keys.init(server.folder, hosts=["fleet.example"], now=late)
    server.check(now=late)
    assert (server.authority.read_bytes(), read_allow_list(server.folder)) == before[:2]
    assert server.certificate.read_bytes() != before[2]


def test_a_key_that_others_can_read_is_not_used(server: keys.ServerKeys, tmp_path: Path) -> None:
    server.key.chmod(0o644)
    with pytest.raises(BadInputError, match="can be read by others"):
        server.check()
    keys.enroll(server.folder, "pi-1", bundle=tmp_path / "pi-1")
    (tmp_path / "pi-1" / "node.key").chmod(0o640)
    with pytest.raises(BadInputError, match="can be read by others"):
        keys.read_bundle(tmp_path / "pi-1")


def test_the_bundle_holds_the_key_on_the_list_and_the_server_does_not(server: keys.ServerKeys, tmp_path: Path) -> None:
    node = keys.enroll(server.folder, "pi-1", bundle=tmp_path / "pi-1")
    bundle = keys.read_bundle(tmp_path / "pi-1")
    public = bundle.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public.decode() == node.public_key
    assert (bundle.name, bundle.authority) == ("pi-1", server.authority.read_bytes())
    private = (tmp_path / "pi-1" / "node.key").read_bytes().splitlines()[3]
    assert not any(private in path.read_bytes() for path in server.folder.iterdir())
    assert "PRIVATE" not in repr(bundle)


def test_a_node_goes_through_its_standings(server: keys.ServerKeys, tmp_path: Path) -> None:
    live = LiveAllowList(server.folder)
    node = keys.enroll(server.folder, "pi-1", bundle=tmp_path / "pi-1", valid_days=10)
    key, now = node.public_key.encode(), now_utc()
    assert standing(live, key, now) is Standing.ENROLLED
    assert standing(live, key, now + timedelta(days=9)) is Standing.ENROLLED
    assert standing(live, key, now + timedelta(days=10)) is Standing.EXPIRED
    keys.revoke(server.folder, "pi-1")
    assert standing(live, key, now) is Standing.REVOKED


def standing(live: LiveAllowList, key: bytes, now: object) -> Standing:
    node = live.current().holder_of(key)
    assert node is not None
    return node.standing(now)  # type: ignore[arg-type]


def test_a_name_is_taken_until_it_is_revoked(server: keys.ServerKeys, tmp_path: Path) -> None:
    first = keys.enroll(server.folder, "pi-1", bundle=tmp_path / "a")
    with pytest.raises(UsageError, match='"pi-1" is already enrolled'):
        keys.enroll(server.folder, "pi-1", bundle=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    keys.revoke(server.folder, "pi-1")
    second = keys.enroll(server.folder, "pi-1", bundle=tmp_path / "b")
    assert (first.number, second.number) == (1, 2)
    with pytest.raises(UsageError, match="no node") as raised:
        keys.revoke(server.folder, "pi-2")
    assert "pi-1" in raised.value.hint


@pytest.mark.parametrize("name", ["", "-x", "a/b", "../x", "a b", "a\nb", "x" * 64])
def test_a_name_is_a_word(server: keys.ServerKeys, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        keys.enroll(server.folder, name, bundle=tmp_path / "bundle")


def test_nothing_is_done_without_keys_or_over_a_bundle(server: keys.ServerKeys, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no keys"):
        keys.enroll(tmp_path / "nothing", "pi-1", bundle=tmp_path / "bundle")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UsageError, match="exists"):
        keys.enroll(server.folder, "pi-1", bundle=tmp_path / "bundle")
    with pytest.raises(BadInputError):
        keys.read_bundle(tmp_path / "bundle")


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=20))
def test_numbers_are_never_given_twice(steps: list[tuple[bool, str]]) -> None:
    """And at any time at most one key of a name opens anything."""
    nodes, now = AllowList(), now_utc()
    for count, (enrolls, name) in enumerate(steps):
        try:
            if enrolls:
                nodes, _ = nodes.with_node(name, str(count).encode(), now=now, expires=now + timedelta(days=1))
            else:
                nodes, _ = nodes.without(name, now=now)
        except UsageError:
            continue
    assert [node.number for node in nodes] == list(range(1, 1 + len(nodes.nodes)))
    enrolled = [node.name for node in nodes if node.standing(now) is Standing.ENROLLED]
    assert len(enrolled) == len(set(enrolled))
