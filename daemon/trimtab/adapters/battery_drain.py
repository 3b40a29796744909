"""Take what runs cost out of a virtual battery, as they would take it out of a real one."""

from collections.abc import Sequence

from trimtab.adapters.virtual_device import VirtualBattery
from trimtab.core.commands import Command
from trimtab.core.events import Event, LoadFinished, StageFinished


class BatteryDrain:
    """An observer that draws the energy of each run and load from a ``VirtualBattery``."""

    def __init__(self, battery: VirtualBattery) -> None:
        """Drain ``battery``."""
        self._battery = battery

    def saw(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Draw the energy of a stage or load that finished."""
        del at_ns, commands
        if isinstance(event, StageFinished | LoadFinished):
            self._battery.draw(event.energy_uj)
