"""Where the ranks of several nodes meet: meeting.py RANKS RENDEZVOUS ADDRESS TORCHRUN'S WORDS.

The first node, which is given its address, opens a port and publishes both in the file RENDEZVOUS;
the others, given an empty address, wait for that file. All then run torchrun.
"""

import json
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path

from torch.distributed import DistNetworkError, TCPStore

from mae_bench.core.files import write_json
from mae_bench.kit.elastic import begin, launch

log = logging.getLogger(__name__)

POLL_S = 0.1
LOOPBACK = "127.0.0.1"
SIOCGIFADDR = 0x8915


def open_port(wanted: Sequence[int]) -> TCPStore:
    """Return a store that listens on the first of those ports that is free; 0 is any.

    torchrun in this process uses it again. Raises the last DistNetworkError if none is free.
    """
    for port in wanted[:-1]:
        try:
            return _store(port)
        except DistNetworkError as error:
            log.warning("port %d cannot be used, another one is tried: %s", port, error)
    return _store(wanted[-1])


def ports(environ: dict[str, str]) -> tuple[int, ...]:
    """Return the ports to try, three at most: the user's MASTER_PORT, then any."""
    given = environ.get("MASTER_PORT", "")
    return (int(given), 0, 0) if given.isdecimal() else (0, 0, 0)


def wait_for(file: Path) -> tuple[str, int]:
    """Return address and port of the first node; who started this process ends it if none comes."""
    while True:
        if file.name in {path.name for path in file.parent.iterdir()}:
            found = json.loads(file.read_text())
            return found["address"], found["port"]
        time.sleep(POLL_S)


def choose_interface(address: str) -> None:
    """Let gloo talk over the interface that leads to the first node, unless the user chose one.

    By itself it takes that of this machine's name, which is often known only to itself.
    """
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        name = interface_to(address)
        if name:
            os.environ["GLOO_SOCKET_IFNAME"] = name


def interface_to(address: str) -> str:
    """Return the name of the network interface on the way to an address, empty if unknown.

    That is lo only for an address of lo: a name that leads there, as this machine's own often
    does, leads nobody else here.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # chooses the way, sends nothing
            mine = probe.getsockname()[0]
            if mine.startswith("127."):
                return "lo" if address == "localhost" or address.startswith("127.") else ""
            for _, name in socket.if_nameindex():
                if _address_of(probe, name) == mine:
                    return name
    except OSError:
        log.info("no interface known that leads to %s", address)
    return ""


def _store(port: int) -> TCPStore:
    """Return a store that listens on that port of all interfaces."""
    return TCPStore(LOOPBACK, port, is_master=True, wait_for_workers=False, multi_tenant=True)


def _address_of(probe: socket.socket, name: str) -> str:
    """Return the IPv4 address of an interface, empty if it has none."""
    try:
        answer = ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return ""
    return socket.inet_ntoa(answer[20:24])


def main() -> None:
    """Meet the other nodes and run this node's ranks; exit with torchrun's code."""
    begin()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    ranks, file, address, *words = sys.argv[1:]
    if address:
        store = open_port(ports(dict(os.environ)))
        port = store.port
        write_json(Path(file), {"address": address, "port": port})
    else:
        address, port = wait_for(Path(file))
    choose_interface(address)
    there = ["--master-addr", address, "--master-port", str(port)]
    launch(Path(ranks), [*there, *words])


if __name__ == "__main__":
    main()
