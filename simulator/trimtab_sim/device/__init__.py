"""The device in simulation: what it is (profiles) and how it behaves (cell, heat, processors, memory)."""
