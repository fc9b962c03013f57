"""Fits a network on the examples, in this process or in several that Spark starts, and writes the run folder."""
