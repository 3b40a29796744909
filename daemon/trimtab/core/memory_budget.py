"""What variants may hold: the policy's limit, what the device has to spare, and less while it is under pressure.

It falls at once and rises only after a while, so that a device whose memory comes and goes is not loaded and evicted
in step with it.
"""

from trimtab.core.state import Holding, State
from trimtab.domain.quantities import NS_PER_S

UNLIMITED = 1 << 62
RISE_NS = 5 * NS_PER_S
"""More memory counts once there has been more for so long; the least that there was in that time counts."""

PRESSURE_FRAC = (0.05, 0.10)
"""Under so much pressure the limit is lowered; once there is less than the first, it is raised again."""
STEP = 0.75
"""Each step leaves so much of what variants held."""
MAX_STEPS = 8
STEP_NS = (10 * NS_PER_S, 5 * NS_PER_S)
"""At least so long between two steps up and between two steps down: the kernel's figure is a mean over ten seconds."""


def held_bytes(state: State) -> int:
    """Return what variants hold, those included that are loading or leaving."""
    return sum([r.resident_bytes for r in state.residences.values()])


def note_memory(state: State, now_ns: int) -> None:
    """Take over a reading of the device: what was available, and what variants held beside it.

    While one is loading or leaving, nobody knows how much of it the reading counts. Then all of it is taken as held,
    and the sum for an upper limit.
    """
    budget, available = state.memory, state.device.memory_available_bytes
    budget.held_bytes = held_bytes(state)
    if available is None:
        budget.device_bytes, budget.rising_since_ns = UNLIMITED, -1
        return
    spare_bytes = budget.held_bytes + available
    if spare_bytes <= budget.device_bytes:
        budget.device_bytes, budget.rising_since_ns = spare_bytes, -1
    elif all(r.holding is Holding.RESIDENT for r in state.residences.values()):
        begins = budget.rising_since_ns < 0
        budget.rising_bytes = spare_bytes if begins else min(spare_bytes, budget.rising_bytes)
        budget.rising_since_ns = now_ns if begins else budget.rising_since_ns


def settle_memory(state: State, now_ns: int) -> bool:
    """Bring the memory limit up to date; return whether it changed."""
    budget, goal = state.memory, state.policy.memory
    if 0 <= budget.rising_since_ns <= now_ns - RISE_NS:
        budget.device_bytes, budget.rising_since_ns = budget.rising_bytes, -1
    limit = UNLIMITED if goal.limit_bytes is None else goal.limit_bytes
    if budget.device_bytes < UNLIMITED:
        limit = min(limit, max(0, budget.device_bytes - goal.keep_available_bytes))
    _step(state, now_ns)
    if budget.steps:
        limit = min(limit, int(budget.pressed_bytes * STEP**budget.steps))
    changed = limit != state.memory_limit_bytes
    state.memory_limit_bytes = limit
    return changed


def _step(state: State, now_ns: int) -> None:
    """Lower the limit by a step while the device is under pressure, and raise it by a step while it is not."""
    budget, pressure_frac = state.memory, state.device.memory_pressure_frac or 0.0
    low, high = PRESSURE_FRAC
    up_ns, down_ns = STEP_NS
    if pressure_frac >= high and budget.steps < MAX_STEPS:
        if budget.steps == 0:
            budget.pressed_bytes = held_bytes(state)
        elif now_ns - budget.stepped_ns < down_ns:
            return
        budget.steps, budget.stepped_ns = budget.steps + 1, now_ns
    elif pressure_frac < low and budget.steps and now_ns - budget.stepped_ns >= up_ns:
        budget.steps, budget.stepped_ns = budget.steps - 1, now_ns
