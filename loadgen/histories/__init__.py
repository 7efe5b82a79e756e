"""What happened in a run, written down where it happened, for a checker that comes later."""
