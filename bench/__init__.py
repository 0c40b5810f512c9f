"""Benchmarks. Each figure is a ratio to a bound measured in the same run, since machines differ and are noisy."""
