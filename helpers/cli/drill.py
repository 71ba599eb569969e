"""``python -m helpers drill``: stop, kill, freeze, thaw or restart one server, and leave it so."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

from helpers.errors import ServerError, SettingsError
from helpers.faults.fault_lock import hold_fault_lock
from helpers.faults.server_control import ControlledServers, find_servers, restart
from helpers.settings import load_settings

_ACTIONS: dict[str, tuple[str, Callable[[ControlledServers, str], None]]] = {
    "stop": ("stop a server as its operator does", lambda servers, name: servers.stop(name)),
    "kill": ("end a server as a crash does", lambda servers, name: servers.kill(name)),
    "freeze": ("let a server hang", lambda servers, name: servers.freeze(name)),
    "thaw": ("let a frozen server go on", lambda servers, name: servers.thaw(name)),
    "restart": ("start a server anew, whatever was done to it", restart),
}


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Let ``parser`` read what to do, and to which server."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    for action, (what, _) in _ACTIONS.items():
        one = actions.add_parser(action, help=what)
        one.add_argument("name", help="coordinator, worker1, worker2, …, mongo or redis")
    actions.add_parser("state", help="show which servers run, are stopped or frozen")


def run_drill(options: argparse.Namespace) -> None:
    """Do what ``options`` say, and show the servers' states.

    Raises ``FaultError`` where a drill is on, ``ServerError`` where there are no servers or the one
    named does not obey, ``SettingsError`` where they are beyond our reach.
    """
    servers = find_servers(load_settings())
    file = servers.lock()
    if file is None:
        raise SettingsError(
            "The servers were given by address, and are not the containers of docker-compose.yml: "
            "their processes are beyond our reach. Unset POSTGRES_URL, MONGO_URL and REDIS_URL to "
            "drill the course's own servers."
        )
    if not servers.meant_to_run():
        raise ServerError(
            "No servers are running: start them with `python -m helpers up` (or `make docker-up`)."
        )
    with contextlib.ExitStack() as held:
        if options.action != "state":
            held.enter_context(hold_fault_lock(file))
            _ACTIONS[options.action][1](servers, options.name)
        for name in servers.names():
            print(f"{name:<12} {servers.state(name)}")
