"""Sub-commands of `dodona`, one file for each group."""
