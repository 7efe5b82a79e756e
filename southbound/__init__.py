"""Southbound carries a cloud's network configuration from its control plane to its compute nodes."""

__version__ = "0.1.0"
