"""The composition root: settings in, a wired daemon out, and its life from start to the last answer."""

import asyncio
import gc
import logging
import math
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from trimtab.adapters.battery_drain import BatteryDrain
from trimtab.adapters.clock import MonotonicClock
from trimtab.adapters.device import system_sensors
from trimtab.adapters.energy import CalibratedMeter, choose_meter
from trimtab.adapters.estimate_store import FileEstimates
from trimtab.adapters.family_store import FamilyError, FolderStore, shipped_families
from trimtab.adapters.journal_history import JournalHistory
from trimtab.adapters.onnx_runtime import OnnxRuntime
from trimtab.adapters.processors import discover_processors
from trimtab.adapters.profile_store import ProfileStore
from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.adapters.virtual_device import FileDevice, VirtualBattery
from trimtab.adapters.watched_policy import WatchedPolicy
from trimtab.domain.family import ProfileSet
from trimtab.domain.processor import Processor
from trimtab.engine.engine import Engine, EngineSettings, Parts
from trimtab.policy import load_policy_file, resolve_name
from trimtab.ports import DeviceSensors, EnergyMeter, Observer, Runtime, StoredFamily
from trimtab.profiling import ProfilingError, Progress, describe_machine, profile_family
from trimtab.rpc.address import Listen, check_tcp, default_socket, free_socket
from trimtab.rpc.server import RpcServer
from trimtab.servers import RemoteRuntime, SendingMeter, ServerSpec
from trimtab.strategies import strategy_named

log = logging.getLogger(__name__)


class ServerError(Exception):
    """A server cannot be used as it was given."""


def default_state_folder() -> Path:
    """Return where journal and profiles are kept: ``$XDG_STATE_HOME/trimtab``, by default below the home."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base, "trimtab")


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """A virtual battery for machines that have none."""

    capacity_j: float
    level_frac: float = 1.0
    background_mw: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "BatterySpec":
        """Read ``CAPACITY_J[:LEVEL[:BACKGROUND_MW]]``, e.g. ``40000:0.8:500``; raise ``ValueError``."""
        parts = text.split(":")
        try:
            spec = cls(*(float(part) for part in parts))
        except (TypeError, ValueError):
            raise ValueError(f"{text!r} is no battery; write CAPACITY_J[:LEVEL[:BACKGROUND_MW]]") from None
        finite = math.isfinite(spec.capacity_j) and math.isfinite(spec.background_mw)
        if not finite or spec.capacity_j <= 0 or not 0 <= spec.level_frac <= 1 or spec.background_mw < 0:
            raise ValueError(f"{text!r}: needs a capacity > 0 J, a level in 0..1 and a drain >= 0 mW")
        return spec


@dataclass(frozen=True, slots=True)
class Settings:
    """How one daemon runs. ``families`` are folders of families; ``policy`` is a shipped name or a file.

    Variants that their manifest calls dominated are offered only with ``all_variants``.
    """

    listen: Listen = field(default_factory=lambda: Listen(socket=default_socket()))
    policy: str = "balanced"
    families: tuple[Path, ...] = ()
    state_folder: Path = field(default_factory=default_state_folder)
    journal_bytes: int = 64 << 20
    battery: BatterySpec | None = None
    device_file: Path | None = None
    profile_budget_s: float = 5.0
    drain_s: float = 30.0
    all_variants: bool = False
    servers: tuple[ServerSpec, ...] = ()
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True, slots=True)
class Machinery:
    """What is found on this machine before anything is served."""

    processors: tuple[Processor, ...]
    runtimes: dict[str, Runtime]
    meter: EnergyMeter
    families: Sequence[StoredFamily]
    profiles: dict[str, ProfileSet]


def check_settings(settings: Settings) -> None:
    """Find mistakes before anything takes time; raise the error that ``serve`` would end with.

    ``AddressError``, ``PolicyError``, ``DeviceFileError``, or ``OSError`` for the state folder.
    """
    if settings.listen.socket is not None:
        free_socket(settings.listen.socket)
    if settings.listen.tcp:
        check_tcp(settings.listen.tcp, settings.listen.allow_remote)
    load_policy_file(resolve_name(settings.policy))
    if settings.device_file is not None:
        FileDevice(settings.device_file)
    settings.state_folder.mkdir(parents=True, exist_ok=True)


def find_families(settings: Settings) -> Sequence[StoredFamily]:
    """Return the families of the settings' folders, or the shipped ones; raise ``FamilyError``."""
    folders = settings.families or (shipped_families(),)
    found = FolderStore(folders).families()
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise FamilyError(f"{names}: no family there; each is a folder <task> with a manifest.json")
    return found


def survey_machine(
    settings: Settings,
    progress: Callable[[str], Progress] | None = None,
    *,
    remeasure: bool = False,
    tasks: Sequence[str] = (),
) -> Machinery:
    """Find processors, meter and families, and measure the profiles that are not known yet.

    ``progress`` gets a task name and returns what is told how far its measurement is. With ``tasks`` only
    those are measured.
    """
    processors = discover_processors()
    runtimes: dict[str, Runtime] = {"onnxruntime": OnnxRuntime()}
    meter = choose_meter()
    families = find_families(settings)
    store = ProfileStore(settings.state_folder / "profiles")
    profiles: dict[str, ProfileSet] = {}
    for stored in families:
        if tasks and stored.family.task not in tasks:
            continue
        machine = describe_machine(runtimes["onnxruntime"].description, meter)
        kept = None if remeasure else store.load(stored.family, processors, machine)
        if kept is None:
            report = None if progress is None else progress(stored.family.task)
            kept = profile_family(
                stored, processors, runtimes, meter, budget_s=settings.profile_budget_s, progress=report
            )
            store.save(stored.family, processors, kept)
        elif isinstance(meter, CalibratedMeter):
            meter.restore(kept.profiles)
        profiles[stored.family.task] = kept
    if not settings.servers:
        return Machinery(processors, runtimes, meter, families, profiles)
    measured = Machinery(processors, runtimes, SendingMeter(meter, settings.servers), families, profiles)
    for spec in settings.servers:
        measured = with_server(measured, spec, settings, remeasure=remeasure)
    return measured


def with_server(machinery: Machinery, spec: ServerSpec, settings: Settings, *, remeasure: bool) -> Machinery:
    """Return the machinery with a server beside it: its profiles are measured now, or kept from when it could be.

    Raises ``ServerError`` when one of the device's processors has its name.
    """
    if any(processor.name == spec.name for processor in machinery.processors):
        raise ServerError(f"--remote {spec.name}: this device has a processor of that name")
    runtime = RemoteRuntime(spec)
    processor, meter = runtime.processor(), machinery.meter
    store = ProfileStore(settings.state_folder / "profiles" / "servers" / spec.name)
    key = (replace(processor, network_ns=0),)
    profiles = dict(machinery.profiles)
    for stored in machinery.families:
        task = stored.family.task
        if task not in profiles or not fnmatchcase(task, spec.tasks):
            continue
        machine = describe_machine(runtime.description, meter)
        kept = None if remeasure else store.load(stored.family, key, machine)
        if kept is None:
            try:
                whole = replace(
                    stored.family, variants=tuple(v for v in stored.family.variants if len(v.stages) == 1)
                )
                kept = profile_family(
                    replace(stored, family=whole),
                    (processor,),
                    {runtime.name: runtime},
                    meter,
                    budget_s=settings.profile_budget_s / 2,
                )
            except ProfilingError:
                log.warning(
                    "%s: not measured on %s, which is used once it was reached at a start", task, spec.name
                )
                continue
            store.save(stored.family, key, kept)
        profiles[task] = replace(profiles[task], profiles=(*profiles[task].profiles, *kept.profiles))
    return Machinery(
        (*machinery.processors, processor),
        {**machinery.runtimes, runtime.name: runtime},
        meter,
        machinery.families,
        profiles,
    )


def build_engine(settings: Settings, machinery: Machinery) -> Engine:
    """Wire an engine; must be called on a running event loop."""
    clock = MonotonicClock()
    overlays: list[DeviceSensors] = []
    observers: list[Observer] = []
    if settings.device_file is not None:
        overlays.append(FileDevice(settings.device_file))
    if settings.battery is not None:
        spec = settings.battery
        battery = VirtualBattery(spec.capacity_j, spec.level_frac, spec.background_mw, clock)
        overlays.append(battery)
        observers.append(BatteryDrain(battery))
    policies = WatchedPolicy(resolve_name(settings.policy))
    journal_path = settings.state_folder / "journal.sqlite"
    parts = Parts(
        clock=clock,
        sensors=system_sensors(overlays),
        meter=machinery.meter,
        runtimes=machinery.runtimes,
        policies=policies,
        journal=SqliteJournal(journal_path, max_bytes=settings.journal_bytes),
        processors=machinery.processors,
        families=[
            _offered(stored, machinery.profiles, settings.all_variants) for stored in machinery.families
        ],
        profiles={task: found.profiles for task, found in machinery.profiles.items()},
        history=JournalHistory(journal_path, strategy_named),
        estimates=FileEstimates(settings.state_folder / "estimates.json", _cpu(machinery)),
        observers=tuple(observers),
    )
    return Engine(parts, settings.engine)


def _cpu(machinery: Machinery) -> str:
    """Return what machine the profiles are of."""
    return next((found.machine.cpu for found in machinery.profiles.values()), "")


def _offered(stored: StoredFamily, profiles: dict[str, ProfileSet], all_variants: bool) -> StoredFamily:
    """Return what is served of a family, with this machine's profiles in place of its builder's."""
    family = stored.family if all_variants else stored.family.offered()
    return replace(stored, family=replace(family, profiles=profiles.get(stored.family.task)))


async def serve(
    settings: Settings, machinery: Machinery, started: Callable[[RpcServer, Engine], None]
) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; return whether every admitted request was answered.

    A second signal ends the process at once with 128 + its number. SIGHUP reads the policy again.
    ``started`` is called once the daemon is ready.
    """
    engine = build_engine(settings, machinery)
    server = RpcServer(engine, settings.listen)
    stop = _catch_signals(engine)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_callers_who_left)
    try:
        await engine.start()
        await server.start()
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not walk it again
        started(server, engine)
        await stop.wait()
        return await _drain(server, engine, settings.drain_s)
    finally:
        await server.stop()
        await engine.close()


async def _drain(server: RpcServer, engine: Engine, grace_s: float) -> bool:
    log.info("draining: finishing what was admitted")
    await server.announce_drain()
    clock_s = asyncio.get_running_loop().time
    ends_s = clock_s() + grace_s
    with suppress(TimeoutError):
        await asyncio.wait_for(engine.drain(), grace_s)
    return await server.drain(max(0.0, ends_s - clock_s()))


def _callers_who_left(record: logging.LogRecord) -> bool:
    """Drop gRPC's traceback about an answer whose caller had just gone: that is no error of the daemon."""
    return record.exc_info is None or type(record.exc_info[1]).__name__ != "ExecuteBatchError"


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("reading the policy again failed", exc_info=task.exception())


def _catch_signals(engine: Engine) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the second one ends the process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_stop(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    reloads: set[asyncio.Task[None]] = set()

    def on_reload() -> None:
        task = loop.create_task(engine.refresh(reload_policy=True))
        reloads.add(task)
        task.add_done_callback(reloads.discard)
        task.add_done_callback(_log_failure)

    loop.add_signal_handler(signal.SIGHUP, on_reload)
    return stop
