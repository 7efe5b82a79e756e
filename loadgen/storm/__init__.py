"""The restart storm: all nodes come back with empty state, by streams, by broadcast and by polling."""
