"""Floor 3: the asyncio driver. Events into the scheduler, commands out to the ports; no decisions here."""
