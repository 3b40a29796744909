"""What ``make_devices.py`` makes device profiles of: facts, assumptions and the rules between them."""
