"""Scores for every member: the predictor, the two Spark paths that apply it, the ledger."""
