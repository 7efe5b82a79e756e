"""What benchmarks found, as one page that needs nothing beside it, and as pictures."""
