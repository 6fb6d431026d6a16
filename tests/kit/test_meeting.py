import socket

import pytest

from mae_bench.kit.meeting import interface_to


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1", "lo"),
        ("127.0.1.1", "lo"),
        ("localhost", "lo"),
        ("::1", ""),
        ("no.invalid", ""),
    ],
)
def test_an_address_of_this_machine_alone_is_reached_over_lo(address, name):
    assert interface_to(address) == name


def test_a_name_that_leads_to_this_machine_chooses_no_interface(monkeypatch):
    """Debian writes a machine's own name beside 127.0.1.1; the resolver is stood for."""
    real = socket.socket.connect

    def connect(self, address):
        real(self, ("127.0.1.1", address[1]) if address[0] == "n1" else address)

    class Probe(socket.socket):
        pass

    Probe.connect = connect
    monkeypatch.setattr("mae_bench.kit.meeting.socket.socket", Probe)
    assert interface_to("n1") == ""
