"""Networks between the parties, and what a query waits for on each of them."""

from __future__ import annotations

from typing import NamedTuple

from keras_private.plan.cost import Cost


class Network(NamedTuple):
    """A network between the parties: its round trip in seconds, and bytes a second one way. In a round all parties send
    at once, so it takes half a round trip."""

    name: str
    round_trip: float
    bytes_per_second: float

    @property
    def said(self) -> str:
        trip = f"{self.round_trip * 1e3:g} ms" if self.round_trip >= 1e-4 else f"{self.round_trip * 1e6:g} µs"
        bits = 8 * self.bytes_per_second
        return (
            f"{self.name} ({bits / 1e9:g} Gb/s, {trip})"
            if bits >= 1e9
            else f"{self.name} ({bits / 1e6:g} Mb/s, {trip})"
        )


NETWORKS = (
    Network("loopback", 35e-6, 1.25e9),  # a TLS socket of one machine
    Network("LAN", 0.2e-3, 125e6),
    Network("WAN", 40e-3, 12.5e6),
)


def estimate(cost: Cost, network: Network) -> float:
    """Seconds that the network alone takes, computing not included."""
    return cost.rounds * network.round_trip / 2 + max(cost.sent) / network.bytes_per_second
