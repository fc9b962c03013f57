"""Model bundles, the gate a model must pass, and the aliases that say which one scores."""
