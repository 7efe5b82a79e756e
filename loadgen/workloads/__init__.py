"""What the load generator publishes, and when: fleets and scenarios, made from a seed alone.

The rule: pure. No clock, no IO, no state between calls; the same shape and seed give the same bytes
on every machine, so workers on several machines need agree on nothing but the shape.
"""
