"""A real Kafka and a Redis-compatible server on this machine, for the demo and for tests.

The rule: whatever is started here is written down before it starts, belongs to no terminal, and can
be found and ended by its process id after any crash. Nothing is installed: a Java runtime, Kafka's
jars and a Redis server are found, or brought along by the `local` extra.
"""
