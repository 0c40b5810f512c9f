"""The customer's Messenger in the demo."""

from __future__ import annotations

from adapters.graph.device import MessagingDevice
from adapters.messenger.simulator import Simulator


class Device(MessagingDevice):
    channel = "messenger"
    title = "Messenger"
    place = 6
    links = "https://m.me/"
    kind = Simulator
