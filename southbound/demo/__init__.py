"""The demonstration: one application carried from a control plane to thirty nodes, and checked."""

from southbound.demo.story import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo"]
