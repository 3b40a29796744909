"""Floor 0: the values everything else speaks in. No I/O, no clock, no third-party imports but msgspec."""
