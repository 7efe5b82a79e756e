"""Moving and seeding: what carries a scope's stream from one slot into another (docs/design.md §8)."""
