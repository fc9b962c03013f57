"""Source files in, clean canonical tables out: bronze (as it came), silver (typed, deduplicated) and the quarantine."""
