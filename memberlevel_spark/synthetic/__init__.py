"""A synthetic shop with known truth; README.md beside this file states its laws."""
