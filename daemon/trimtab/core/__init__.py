"""Floor 1: the sans-IO scheduler. Events in, commands out; no clock, I/O, threads or chance."""
