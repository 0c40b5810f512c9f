"""Notifications to staff by any service that the library Apprise knows."""
