"""Who gets past a running SuperLink's gate, and to what."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra federated")

import httpx
from echo_processes import fleet
from flwr.clientapp import ClientApp
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from edgekit.core.errors import BadInputError
from edgekit.federated import keys
from edgekit.federated.allow_list import now_utc
from edgekit.federated.flower.client import join
from edgekit.federated.flower.node import FleetNode
from edgekit.federated.flower.server import SuperLink, running_superlink


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    fleet(folder, "pi-1", "pi-2")
    return folder


@pytest.fixture(scope="module")
def superlink(folder: Path) -> Iterator[SuperLink]:
    with running_superlink(keys=folder / "keys", state=folder / "state", host="127.0.0.1", port=0) as superlink:
        yield superlink


def caller(folder: Path, superlink: SuperLink, *, shows: str, holds: str) -> FleetHttpClient:
    """Shows the public key of one node and signs with that of another."""
    shown, held = (keys.read_bundle(folder / "bundles" / name).private_key for name in (shows, holds))
    return FleetHttpClient.from_server_address(
        f"127.0.0.1:{superlink.ports.fleet}",
        insecure=False,
        root_certificates=superlink.authority,
        interceptors=[NodeAuthHttpInterceptor(held, shown.public_key())],
    )


def activation(folder: Path, name: str) -> ActivateNodeRequest:
    key = keys.read_bundle(folder / "bundles" / name).private_key.public_key()
    return ActivateNodeRequest(public_key=public_key_to_bytes(key), heartbeat_interval=10)


def last_refusal(folder: Path) -> str:
    return (folder / "state" / "access.log").read_text().splitlines()[-1]


def post(folder: Path, port: int, path: str) -> int:
    verify = ssl.create_default_context(cafile=str(folder / "keys" / "ca.pem"))
    return httpx.post(f"https://127.0.0.1:{port}{path}", verify=verify).status_code


def test_a_public_key_alone_opens_nothing(folder: Path, superlink: SuperLink) -> None:
    with (
        caller(folder, superlink, shows="pi-1", holds="pi-2") as impostor,
        pytest.raises(httpx.HTTPStatusError, match="401"),
    ):
        impostor.ActivateNode(activation(folder, "pi-1"))
    assert " refused " in last_refusal(folder)
    assert '"pi-1"' in last_refusal(folder)


def test_a_node_enters_as_itself_only(folder: Path, superlink: SuperLink) -> None:
    with caller(folder, superlink, shows="pi-2", holds="pi-2") as node:
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            node.ActivateNode(activation(folder, "pi-1"))
        assert node.ActivateNode(activation(folder, "pi-2")).node_id


def test_no_node_enrolls_itself(folder: Path, superlink: SuperLink) -> None:
    request = RegisterNodeFleetRequest(public_key=activation(folder, "pi-1").public_key)
    with (
        caller(folder, superlink, shows="pi-1", holds="pi-1") as node,
        pytest.raises(httpx.HTTPStatusError, match="412"),
    ):
        node.RegisterNode(request)


@pytest.mark.parametrize(
    "path", ["/v1/control/register-node", "/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/"]
)
def test_the_port_of_the_fleet_serves_nothing_else(folder: Path, superlink: SuperLink, path: str) -> None:
    """Flower serves its administrators' interface without a password; here nobody reaches it."""
    assert post(folder, superlink.ports.fleet, path) == 404
    assert last_refusal(folder).endswith(f"nothing is served here {path}")


@pytest.mark.parametrize("path", ["/v1/control/register-node", "/v1/fleet/register-node", "/docs"])
def test_the_port_of_the_server_program_serves_nothing_else(folder: Path, superlink: SuperLink, path: str) -> None:
    assert post(folder, superlink.ports.runtime, path) == 404


def test_the_run_is_not_given_to_who_has_not_the_secret(superlink: SuperLink) -> None:
    with (
        RuntimeHttpClient.from_server_address(
            superlink.runtime, insecure=False, root_certificates=superlink.authority, interceptors=[]
        ) as intruder,
        pytest.raises(httpx.HTTPStatusError, match="401"),
    ):
        intruder.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))


def test_what_a_peer_sends_writes_no_line_of_its_own(folder: Path, superlink: SuperLink) -> None:
    before = len((folder / "state" / "access.log").read_text().splitlines())
    assert post(folder, superlink.ports.fleet, "/%0a2026-01-01 admitted 1.2.3.4 me") == 404
    assert len((folder / "state" / "access.log").read_text().splitlines()) == before + 1


def test_an_expired_key_is_refused_on_both_sides(folder: Path, superlink: SuperLink, tmp_path: Path) -> None:
    node = keys.enroll(folder / "keys", "old", bundle=tmp_path / "old", valid_days=1, now=now_utc() - timedelta(days=2))
    server = f"127.0.0.1:{superlink.ports.fleet}"
    with pytest.raises(BadInputError, match="has expired"):
        join(lambda _, request: request, server=server, bundle=tmp_path / "old")
    insistent = FleetNode(server=server, bundle=keys.read_bundle(tmp_path / "old"), app=ClientApp())
    with pytest.raises(BadInputError, match='of "old" is expired'):
        insistent.serve()
    assert last_refusal(folder).endswith(f'key {node.fingerprint} of "old" is expired')


def test_a_node_does_not_speak_to_another_server(folder: Path, superlink: SuperLink, tmp_path: Path) -> None:
    """Whose certificate its own authority has not signed, or that it calls by a name which the certificate does not hold."""
    other = keys.read_bundle(fleet(tmp_path, "other")["other"])
    bundle = keys.read_bundle(folder / "bundles" / "pi-1")
    port = superlink.ports.fleet
    for node in (
        FleetNode(server=f"127.0.0.1:{port}", bundle=replace(bundle, authority=other.authority), app=ClientApp()),
        FleetNode(server=f"127.1:{port}", bundle=bundle, app=ClientApp()),
    ):
        with pytest.raises(BadInputError, match="is not the server of this node's keys"):
            node.serve()
