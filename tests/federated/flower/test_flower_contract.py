"""What the adapter takes from Flower, as the pinned version gives it: a newer one that moves any of it fails here, by name."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra federated")

PINNED = "1.41"

PARAMETERS = {
    "flwr.serverapp.strategy:Strategy.start": (
        "self grid initial_arrays num_rounds timeout train_config evaluate_config evaluate_fn"
    ),
    "flwr.serverapp.strategy:Strategy.configure_train": "self server_round arrays config grid",
    "flwr.serverapp.strategy:Strategy.aggregate_train": "self server_round replies",
    "flwr.serverapp.strategy:Strategy.configure_evaluate": "self server_round arrays config grid",
    "flwr.serverapp.strategy:Strategy.aggregate_evaluate": "self server_round replies",
    "flwr.serverapp.strategy:Strategy.summary": "self",
    "flwr.serverapp:Grid.get_nodes": "self",
    "flwr.serverapp:Grid.push_messages": "self messages",
    "flwr.serverapp:Grid.pull_messages": "self message_ids",
    "flwr.serverapp:Grid.get_node_ids": "self",
    "flwr.serverapp:Grid.send_and_receive": "self messages timeout",
    "flwr.simulation:run_simulation": (
        "server_app client_app num_supernodes backend_name backend_config enable_tf_gpu_growth verbose_logging"
    ),
    "flwr.superlink.grid:HttpGrid.__init__": "self runtime_api_address insecure root_certificates token",
    "flwr.superlink.grid:HttpGrid.set_run": "self run",
    "uvicorn.protocols.http.h11_impl:H11Protocol.__init__": "self config server_state app_state _loop",
    "flwr.superlink.main:create_app": "config superlink_lifespan_class",
    "flwr.superlink.config_loader:SuperLinkLifespanConfig.__init__": (
        "self control_address health_server_address host port insecure certificates superexec_auth_secret authn_plugin"
        " event_log_plugin fleet_event_log_plugin enable_event_log artifact_provider enable_supernode_auth fleet_api_type"
        " fleet_api_address simulation ssl_ca_certfile ssl_certfile ssl_keyfile database isolation runtime_dependency_install"
    ),
    "flwr.server.superlink.linkstate:LinkState.create_node": (
        "self owner_aid owner_name public_key heartbeat_interval location name"
    ),
    "flwr.server.superlink.linkstate:LinkState.deactivate_node": "self node_id",
    "flwr.server.superlink.linkstate:LinkState.get_node_id_by_public_key": "self public_key",
    "flwr.server.superlink.linkstate:LinkState.store_app": (
        "self fab federation_id app_id app_type added_by is_hub_app display_name description color"
    ),
    "flwr.server.superlink.linkstate:LinkState.create_run": (
        "self fab_id fab_version fab_hash override_config federation_id federation_config flwr_aid primary_task_type series_id"
        " series_description connector_ids initial_task_event user_prompt"
    ),
    "flwr.supercore.runtime:RuntimeHttpClient.from_server_address": (
        "server_address insecure root_certificates interceptors retry_invoker"
    ),
    "flwr.supercore.inflatable.inflatable_utils:ObjectPushError.__init__": "self object_id run_id session_id",
    "flwr.supercore.interceptors:SuperExecAuthHttpInterceptor.__init__": "self master_secret protected_methods",
    "flwr.supernode.fleet_http_client:FleetHttpClient.ActivateNode": "self request",
    "flwr.supernode.fleet_http_client:FleetHttpClient.PullMessages": "self request",
    "flwr.supernode.fleet_http_client:FleetHttpClient.PushMessages": "self request",
    "flwr.supernode.node_auth_http_interceptor:NodeAuthHttpInterceptor.__init__": "self private_key public_key",
    "flwr.supercore.inflatable.inflatable_utils:pull_and_inflate_object_from_tree": (
        "object_tree pull_object_fn confirm_object_received_fn return_type max_concurrent_pulls max_time max_tries_per_object"
        " initial_backoff backoff_cap"
    ),
    "flwr.supercore.inflatable.inflatable_utils:push_objects": (
        "objects push_object_fn object_ids_to_push keep_objects max_concurrent_pushes"
    ),
}


def test_the_version_is_the_pinned_one() -> None:
    assert version("flwr").startswith(f"{PINNED}.")
    pinned = [line for line in requires("edgekit") or () if line.startswith("flwr") and "federated" in line]
    assert pinned
    assert all(f">={PINNED}" in line for line in pinned)


@pytest.mark.parametrize("place", PARAMETERS)
def test_a_function_takes_what_it_took(place: str) -> None:
    module, _, path = place.partition(":")
    found = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert " ".join(inspect.signature(found).parameters) == PARAMETERS[place]


def test_the_strategy_is_one_of_flowers() -> None:
    from flwr.serverapp.strategy import Strategy

    from edgekit.federated.flower.strategy import CourseStrategy

    strategy = CourseStrategy(lambda _: None)
    assert isinstance(strategy, Strategy)
    assert set(Strategy.__abstractmethods__) <= set(vars(CourseStrategy))
    with pytest.raises(NotImplementedError):
        strategy.configure_train()


def test_every_kind_is_a_type_of_message_that_flower_dispatches() -> None:
    from flwr.app.metadata import validate_message_type

    from edgekit.federated.flower.messages import KIND_OF
    from edgekit.federated.transport import Kind

    assert set(KIND_OF.values()) == set(Kind)
    assert all(validate_message_type(message_type) for message_type in KIND_OF)
    assert {"train", "query.statistics", "query.vote"} <= set(KIND_OF)


def test_the_grid_gives_up_after_a_number_of_tries() -> None:
    from flwr.superlink.grid import HttpGrid

    assert HttpGrid(token="x")._retry_invoker.max_tries is None  # noqa: S106


def test_without_flower_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.core.errors import MissingExtraError
    from edgekit.federated.flower.library import require_flower

    monkeypatch.setitem(sys.modules, "flwr", None)
    with pytest.raises(MissingExtraError) as raised:
        require_flower()
    assert raised.value.hint == "pip install 'edgekit[federated]'"


def test_flower_stays_silent(tmp_path: Path) -> None:
    """Imported through edgekit it sends nothing to its makers, asks for no newer version, and writes nothing to the home folder."""
    program = (
        "import edgekit.federated.flower.server, edgekit.federated.flower.client\n"
        "from flwr.supercore import telemetry, update_check\n"
        "assert telemetry.FLWR_TELEMETRY_ENABLED == '0'\n"
        "assert telemetry.event(telemetry.EventType.PING).result() == 'disabled'\n"
        "update_check._start_flwr_update_check_refresh_thread = None\n"  # calling it would fail
        "update_check.warn_if_flwr_update_available()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "FLWR_HOME": str(tmp_path / "flower")}
    environment.pop("FLWR_TELEMETRY_ENABLED", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(home.iterdir())
