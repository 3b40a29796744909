"""Compression steps: one config dataclass and one registered function each."""
