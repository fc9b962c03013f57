"""What keeps a shop from running, found before it does: the machine, the tables, the registry, the run folders."""
