"""Channels. One folder each: adapter, simulator, fixtures, tests, README."""
