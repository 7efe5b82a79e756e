"""The janitor: keeps the logs such that compaction, whatever it drops, drops nothing that counts.

Put together in `service.py`; what is decided is decided in `facts.py`, `judging.py` and
`standing.py`, which are pure.
"""
