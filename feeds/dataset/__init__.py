"""Data sets: rows that can be named by one hash, proven in parts, and traced to who gave them.

A data set is rows + `manifest.json` (name, licence, provider, lineage, schema, span, root) + `chunks.bin` (one record
of 128 bytes a chunk, the leaves of the tree). Where the rows lie (our Parquet parts, somebody's CSV, a store) is no
part of what it is: the root is over the rows in a canonical encoding (`feeds.dataset.encoding`).
"""
