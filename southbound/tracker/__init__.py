"""The tracker as a service: what every node has, and what became of every change, for who asks."""
