"""``python -m helpers drill``: stop, kill, freeze, thaw or restart one server, and leave it so."""

from __future__ import annotations

import argparse
import contextlib

from helpers.errors import ServerError, SettingsError
from helpers.settings import load_settings

_ACTIONS = {
    "stop": "stop a server as its operator does",
    "kill": "end a server as a crash does",
    "freeze": "make a server unresponsive",
    "thaw": "let a frozen server continue",
    "restart": "start a server again, whatever its state",
    "state": "show which servers are running, stopped or frozen",
}


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add the actions, and the name of the server, to ``parser``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    for action, help_text in _ACTIONS.items():
        subparser = actions.add_parser(action, help=help_text)
        if action != "state":
            subparser.add_argument("name", help="coordinator, worker1, worker2, …, mongo or redis")


def run_drill(options: argparse.Namespace) -> None:
    """Carry out the action in ``options``, and print the state of every server.

    Raises ``FaultError`` if another fault injection is running, ``ServerError`` if no servers are
    running or the action fails, and ``SettingsError`` if the servers are on other machines.
    """
    from helpers.faults.fault_lock import hold_fault_lock
    from helpers.faults.server_control import find_servers, restart

    servers = find_servers(load_settings())
    lock = servers.lock()
    if lock is None:
        raise SettingsError(
            "The servers were given by address, and are not the containers of docker-compose.yml: "
            "their processes are beyond our reach. Unset POSTGRES_URL, MONGO_URL and REDIS_URL to "
            "use the embedded servers."
        )
    if not servers.meant_to_run():
        raise ServerError(
            "No servers are running: start them with `python -m helpers up` (or `make docker-up`)."
        )
    with contextlib.ExitStack() as stack:
        if options.action != "state":
            stack.enter_context(hold_fault_lock(lock))
        match options.action:
            case "stop":
                servers.server(options.name).stop()
            case "kill":
                servers.server(options.name).kill()
            case "freeze":
                servers.server(options.name).freeze()
            case "thaw":
                servers.server(options.name).thaw()
            case "restart":
                restart(servers, options.name)
        for name in servers.names():
            print(f"{name:<12} {servers.server(name).state()}")
