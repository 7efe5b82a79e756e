"""Simulated agents: compact nodes, the hall that holds those of one process, and what feeds it."""
