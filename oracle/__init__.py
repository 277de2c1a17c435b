"""The node: what a validator runs, from its command line to the chain."""
