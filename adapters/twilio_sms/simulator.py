"""Twilio's side of SMS: phones that have numbers."""

from __future__ import annotations

from adapters.twilio.simulator import Twilio


class Simulator(Twilio):
    """Everything of an account that has to do with SMS and MMS."""
