"""Floor 4: one file per outside thing; each implements a port."""
