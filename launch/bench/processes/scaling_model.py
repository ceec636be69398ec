"""How fast P devices are, from what one of them computes and what a link carries.

Legend: r components, P devices, K = ceil(r/P) components per device; a round of one device on K
components takes t(K) seconds, its decisions about all r included; n = m + d + 2 numbers per
component, its factors and what is decided from.

A round exchanges P K n numbers in one all-gather, of which a device receives the (P - 1) K n that
are not its own, in P - 1 messages around a ring. A round takes t(K) + c with fresh
predecessors; with stale ones the exchange runs beside the products and it takes max(t(K), c).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

DEVICES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Link:
    """What connects two neighbours: seconds per message, bytes per second.

    Example:
      >>> Link("10 Gb/s network", 2e-5, 1.25e9).seconds(1250, messages=2)
      4.1e-05
    """

    name: str
    latency: float
    bandwidth: float

    def seconds(self, size: float, messages: int) -> float:
        """Of so many messages, `size` bytes in all."""
        return messages * self.latency + size / self.bandwidth


NETWORK = Link("10 Gb/s network, 20 us", 2e-5, 1.25e9)
FABRIC = Link("200 Gb/s fabric, 2 us", 2e-6, 2.5e10)
BESIDE = Link("3600 Gb/s between GPUs, 1 us", 1e-6, 4.5e11)
"""Stated, not measured: a common network between hosts, slower than any link between GPUs; what
connects the nodes of a cluster or, nearly, GPUs by PCIe; and GPUs of one host by NVLink."""
LINKS = (NETWORK, FABRIC, BESIDE)


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be done: `rank` components, each `numbers` = n of `itemsize` bytes."""

    rank: int
    numbers: int
    itemsize: int = 4

    def per_device(self, devices: int) -> int:
        """K = ceil(r/P)."""
        return -(-self.rank // devices)

    def gathered_bytes(self, devices: int) -> int:
        """Bytes of the one all-gather of a round, P K n numbers."""
        return devices * self.per_device(devices) * self.numbers * self.itemsize


def exchange_seconds(work: Work, devices: int, link: Link) -> float:
    """c: of the all-gather of a round; 0 on one device."""
    received = work.gathered_bytes(devices) * (devices - 1) / devices
    return link.seconds(received, devices - 1) if devices > 1 else 0.0


def round_seconds(
    work: Work, devices: int, link: Link, compute: Mapping[int, float], staleness: int = 0
) -> float:
    """Of one round: t(K) + c, and max(t(K), c) with staleness >= 1.

    Args:
      work: the sizes.
      devices: P.
      link: between neighbours.
      compute: t, measured on one device, by components per device K.
      staleness: rounds that predecessors are behind.

    Example:
      >>> work, link = Work(rank=4, numbers=100), Link("slow", 0.0, 800.0)
      >>> round_seconds(work, 2, link, {4: 8.0, 2: 4.0}), round_seconds(work, 2, link, {2: 4.0}, 1)
      (5.0, 4.0)
    """
    computing = compute[work.per_device(devices)]
    exchanging = exchange_seconds(work, devices, link)
    return max(computing, exchanging) if staleness else computing + exchanging
