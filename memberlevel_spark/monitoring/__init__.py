"""What to watch after scoring: drift of the inputs, expected migration, and outcomes once they are mature."""
