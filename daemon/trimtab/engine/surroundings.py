"""What surrounds the requests: the device's sensors and the policy, watched while the daemon runs."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from trimtab.core import events as ev
from trimtab.core.state import Link
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S
from trimtab.engine.api import PolicyText
from trimtab.policy import PolicyError, Problem, load_policy
from trimtab.ports import Clock, DeviceSensors, PolicySource, ServerRuntime
from trimtab.strategies import strategy_named

log = logging.getLogger(__name__)

HEARTBEAT_NS = 60 * NS_PER_S
"""The device's state is told to the scheduler at least so often, changed or not: time-of-day rules need it."""

MOVED_FRAC = 0.5
"""A round trip that moved by less than this share of what was told last is no news."""

BY_REQUEST = "<request>"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves. Sensors are read each ``sensor_s`` while requests come, else each ``idle_s``."""

    sensor_s: float = 1.0
    idle_s: float = 10.0
    idle_after_s: float = 5.0


class Surroundings:
    """Reads sensors and policy, and posts an event when one of them changed."""

    def __init__(
        self,
        sensors: DeviceSensors,
        policies: PolicySource,
        clock: Clock,
        settings: EngineSettings,
        post: Callable[[ev.Event], None],
        servers: Mapping[str, ServerRuntime] | None = None,
        links: Callable[[], Mapping[str, Link]] = dict,
    ) -> None:
        """Start with nothing known; ``servers`` are by processor, ``links`` what is thought of them."""
        self._servers = servers or {}
        self._links = links
        self._sensors = sensors
        self._looking = asyncio.Lock()
        self._source = policies
        self._clock = clock
        self._settings = settings
        self._post = post
        self._told_ns = 0
        self._last_request_ns = 0
        self._stirred = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self.device = DeviceState()
        self.policy = PolicyText(Policy(name="default"), "", "")
        self.reload_error = ""

    # ---- lifecycle -----------------------------------------------------------------------------------

    async def load_policy(self) -> None:
        """Put the policy in force; raise ``PolicyError``: a daemon must not start under a wrong policy."""
        policy = await asyncio.to_thread(self._source.load)
        self.use(PolicyText(policy, self._source.text, self._source.source))

    async def read_device(self) -> None:
        """Read the sensors for the first time."""
        self.device = await asyncio.to_thread(self._sensors.read)
        self._tell_device()

    async def look_at_servers(self) -> None:
        """Find out which servers can be reached; each takes a second at most."""
        names = list(self._servers)
        looks = await asyncio.gather(*[asyncio.to_thread(self._servers[name].look) for name in names])
        links = self._links()
        for name, (reachable, round_trip_ns) in zip(names, looks, strict=True):
            link = links[name]
            moved = abs(round_trip_ns - link.round_trip_ns) > MOVED_FRAC * link.round_trip_ns
            if reachable != link.reachable or (reachable and moved):
                log.info(
                    "server %s: %s",
                    name,
                    f"in reach, {round_trip_ns / 1e6:.1f} ms" if reachable else "out of reach",
                )
                self._post(ev.ConnectivityChanged(name, reachable, round_trip_ns))

    def watch(self) -> None:
        """Go on looking until ``stop``."""
        self._watching = asyncio.create_task(self._watch(), name="trimtab-sensors")

    async def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    # ---- the policy ----------------------------------------------------------------------------------

    async def check(self, yaml: str) -> Policy:
        """Return the policy in ``yaml``; raise ``PolicyError``."""
        policy = await asyncio.to_thread(load_policy, yaml, BY_REQUEST)
        _check_strategy(policy, BY_REQUEST)
        return policy

    def use(self, text: PolicyText) -> None:
        """Put a policy in force; raise ``PolicyError``, with nothing changed, for an unknown strategy."""
        _check_strategy(text.policy, text.source)
        self._post(ev.PolicyReplaced(text.policy))
        self.policy, self.reload_error = text, ""

    async def _poll_policy(self, force: bool) -> None:
        source = self._source
        try:
            policy = await asyncio.to_thread(source.poll, force)
            if policy is not None:
                self.use(PolicyText(policy, source.text, source.source))
                log.info("policy %s is in force", policy.name)
        except PolicyError as error:
            self.reload_error = str(error)
            log.error("the policy stays as it was: %s", error)

    # ---- the device ----------------------------------------------------------------------------------

    def stir(self) -> None:
        """Note that a request came: look more often for a while."""
        self._last_request_ns = self._clock.now_ns()
        if not self._stirred.is_set():
            self._stirred.set()

    async def refresh(self, *, reload_policy: bool = False) -> None:
        """Read the sensors now and look for a new policy; ``reload_policy`` reads it changed or not."""
        async with self._looking:
            device = await asyncio.to_thread(self._sensors.read)
        changed = replace(device, local_time_s=0) != replace(self.device, local_time_s=0)
        self.device = device
        if changed or self._clock.now_ns() - self._told_ns >= HEARTBEAT_NS:
            self._tell_device()
        if self._servers:
            await self.look_at_servers()
        await self._poll_policy(reload_policy)

    def _tell_device(self) -> None:
        self._told_ns = self._clock.now_ns()
        self._post(ev.DeviceChanged(self.device))

    async def _watch(self) -> None:
        """Look often while requests come, rarely while the daemon is idle."""
        settings = self._settings
        while True:
            idle_ns = self._clock.now_ns() - self._last_request_ns
            if idle_ns < settings.idle_after_s * NS_PER_S:
                await asyncio.sleep(settings.sensor_s)
            else:
                self._stirred.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), settings.idle_s)
            try:
                await self.refresh()
            except Exception:  # whatever it was, the next look may go well
                log.exception("the device or the policy could not be looked at")


def _check_strategy(policy: Policy, source: str) -> None:
    try:
        strategy_named(policy.strategy)
    except ValueError as error:
        raise PolicyError([Problem(source, 0, 0, "strategy", str(error))]) from error
