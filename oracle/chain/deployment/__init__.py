"""Put the whole core on a real chain, once, from a plan that people can read.

`plan` (what is wanted) -> `steps` (the transactions, their addresses known beforehand) -> `rehearsal` (all of them on
an embedded chain) -> `runner` (sends what is missing, writes each down in `record`) -> `verify` (reads all back).
"""
