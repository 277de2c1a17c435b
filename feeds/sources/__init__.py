"""One file per kind of source; `source.py` says what a source is and how it fails."""
