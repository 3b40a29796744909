"""Floor 4: the wire. Pure conversion (``convert``, ``control``, ``errors``), thin servicers, lifecycle."""
