"""The demo: a replay of recorded days through real nodes, a real chain and real consumers."""
