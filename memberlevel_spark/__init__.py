"""Predicts, for every member of a shop, which member level they will hold H days from now, and why.

Spark builds the Delta tables from raw shop logs up to labelled examples, PyTorch trains on them through Petastorm,
and a scheduled job scores the whole member base. Each stage makes one table with one grain; ``pipeline.py`` lists
them in order.
"""

__version__ = "0.1.0"
