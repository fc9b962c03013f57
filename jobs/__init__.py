"""Entry points for spark-submit and `python -m`, one per stage plus the whole pipeline; no logic."""
