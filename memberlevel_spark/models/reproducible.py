"""Importing it makes matrix products the same to the bit in every process, wherever in memory their numbers lie.

The library of matrix products may else sum in an order that depends on the memory. It looks at this setting once, at
its first use: in a process of our own that is after this line.
"""

import os

os.environ.setdefault("MKL_CBWR", "AUTO")
