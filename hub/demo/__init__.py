"""The hub with simulated providers: a page to play with, and a story that checks itself. Nothing is sent for real."""
