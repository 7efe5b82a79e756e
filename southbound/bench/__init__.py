"""Benchmarks, each beside its baseline in the same run, on the same servers."""
