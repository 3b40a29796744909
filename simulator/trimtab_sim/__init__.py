"""Drive the daemon's own scheduler in simulated time."""
