"""Floor 5: the ``trimtab`` command."""
