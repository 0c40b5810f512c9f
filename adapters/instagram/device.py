"""The customer's Instagram in the demo."""

from __future__ import annotations

from adapters.graph.device import MessagingDevice
from adapters.instagram.simulator import Simulator


class Device(MessagingDevice):
    channel = "instagram"
    title = "Instagram"
    place = 7
    links = "https://ig.me/m/"
    kind = Simulator
