"""What programs the node: built-in appliers, and the interface for others."""
