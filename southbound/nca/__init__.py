"""The node control agent: reads what a node should be from Kafka, applies it, and reports.

`core.py` and the nouns it is made of are pure; `service.py` performs their effects.
"""
