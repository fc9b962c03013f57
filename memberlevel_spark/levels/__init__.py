"""The level programme: typed rules and the replay that says which level every member held on every day."""
