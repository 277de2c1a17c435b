"""The pure round: no I/O, no clock, no floats; same input, same bytes on every validator."""
