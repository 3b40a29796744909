"""What a phone or board is: battery, processors, memory, heat and background drain, each number with its origin.

Profiles are plain numbers for the models that compute with them; ``profile_load`` reads them. Where a number
comes from is kept beside them: ``DeviceProfile.origins`` has an ``Origin`` for every figure by its path in the
YAML file, such as ``cpu.clusters[1].core_ma``. Currents are in mA from the battery at its nominal voltage, as
Android's power profiles give them (source.android.com/docs/core/power/values), and of boards at the supply's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source

SEVERITIES = ("light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal severities above none, in rising order (android.os.PowerManager, THERMAL_STATUS_*)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one figure comes from: how it was obtained, the reference's key, and what there is to say.

    Measured means read from a meter on this very model, published taken from a named source, assumed neither.
    """

    source: Source
    reference: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Battery:
    """A lithium-ion cell (or pack in one): open-circuit voltage and resistance against charge, limits, ageing.

    ``charge_frac`` (rising, 0 to 1) goes with ``ocv_mv``, ``resistance_frac`` with ``resistance_mohm`` (at
    25 degrees). Resistance follows Arrhenius with ``resistance_kj_per_mol``. ``health_frac`` is what is left
    of ``capacity_mah``; after ``cycles_to_80_percent`` full cycles 80 % of a new cell's is left.
    """

    capacity_mah: float
    nominal_voltage_mv: float
    cutoff_mv: float
    charge_frac: tuple[float, ...]
    ocv_mv: tuple[float, ...]
    resistance_frac: tuple[float, ...]
    resistance_mohm: tuple[float, ...]
    resistance_kj_per_mol: float
    health_frac: float
    cycles_to_80_percent: float
    charge_ma: float
    charge_mv: float
    charge_end_ma: float

    @property
    def capacity_j(self) -> float:
        """Return the energy of a full charge at nominal voltage and present health, in joules."""
        return self.capacity_mah * self.health_frac * self.nominal_voltage_mv * 3.6e-3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal cores with one clock: frequency steps (kHz, rising) and what one busy core draws at each (mA).

    ``core_ma`` is above ``Cpu.active_ma`` and ``cluster_ma``, which are drawn once while any core is busy
    (in this cluster). ``state_mw`` is the power the device's thermal policy counts per cooling state, from
    the fastest step down; empty where the policy states none.
    """

    name: str
    cores: tuple[int, ...]
    khz: tuple[float, ...]
    core_ma: tuple[float, ...]
    cluster_ma: float
    state_mw: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU's draw: suspend + idle (awake) + active (any core busy) + cluster (any of its cores) + cores.

    All in mA at ``voltage_mv``; ``suspend_ma`` is that of the whole device asleep, the rest adds to it.
    ``whole_cpu_steps``: the file's ``core_ma`` hold the whole CPU's draw with one core busy; in ``Cluster``
    they are already less ``active_ma``.
    """

    voltage_mv: float
    suspend_ma: float
    idle_ma: float
    active_ma: float
    whole_cpu_steps: bool
    clusters: tuple[Cluster, ...]

    def cluster(self, name: str) -> Cluster:
        """Return the cluster ``name``; raise ``KeyError``."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU or NPU: frequency steps (kHz, rising), its power when busy at each (mW), idle power (mW)."""

    title: str
    provider: str
    khz: tuple[float, ...]
    power_mw: tuple[float, ...]
    idle_mw: float


@dataclass(frozen=True, slots=True)
class Memory:
    """RAM in MiB: all of it, what the system itself keeps, and below what is left apps are killed."""

    total_mib: float
    system_mib: float
    low_mib: float


@dataclass(frozen=True, slots=True)
class Screen:
    """The screen's draw in mA: always-on, on at least brightness, and what full brightness adds to that."""

    ambient_ma: float
    on_ma: float
    full_ma: float


@dataclass(frozen=True, slots=True)
class Radio:
    """What radios add in mA: on and connected, transferring, scanning; zero where the device has none."""

    wifi_on_ma: float
    wifi_active_ma: float
    wifi_scan_ma: float
    mobile_on_ma: float = 0.0
    mobile_active_ma: float = 0.0
    mobile_scan_ma: float = 0.0
    gps_ma: float = 0.0


@dataclass(frozen=True, slots=True)
class Media:
    """What audio, video (decoding), camera and torch add in mA."""

    audio_ma: float
    video_ma: float
    camera_ma: float
    torch_ma: float


@dataclass(frozen=True, slots=True)
class Node:
    """A lump of the device with one temperature and a heat capacity in joules per degree."""

    name: str
    j_per_c: float


@dataclass(frozen=True, slots=True)
class Link:
    """Heat conduction between two nodes, or a node and ``ambient``, in watts per degree."""

    ends: tuple[str, str]
    w_per_c: float


@dataclass(frozen=True, slots=True)
class Sensor:
    """Where the thermal policy looks: a node and its threshold per severity (``SEVERITIES``), infinite for none.

    A severity is left once the temperature is ``hysteresis_c`` below its threshold.
    """

    name: str
    node: str
    hot_c: tuple[float, ...]
    hysteresis_c: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Throttle:
    """A cap with hysteresis: from ``set_c`` until below ``clear_c`` the target's clock is at most ``max_khz``.

    The target is a cluster, ``gpu`` or ``npu``; ``device`` with 0 kHz is a shutdown.
    """

    sensor: str
    target: str
    set_c: float
    clear_c: float
    max_khz: float


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """A target of a power budget: its weight, and the clock the budget never pushes it below."""

    target: str
    weight: float
    floor_khz: float


@dataclass(frozen=True, slots=True)
class PowerBudget:
    """A PID power budget of Android's thermal HAL (hardware/google/pixel/thermal, ``PIDInfo``).

    From ``engage_c`` on, targets share ``sustained_mw`` + ``over`` or ``under`` gain (mW per degree) times
    the error to ``target_c`` + an integral with gain ``integral`` (mW per degree and evaluation), at most
    ``integral_max_mw`` and only within ``integral_cutoff_c`` of the target; the sum is kept in
    [``min_mw``, ``max_mw``]. It is evaluated each ``period_s`` while engaged.
    """

    sensor: str
    engage_c: float
    release_c: float
    target_c: float
    over_mw_per_c: float
    under_mw_per_c: float
    integral_mw_per_c: float
    integral_max_mw: float
    integral_cutoff_c: float
    sustained_mw: float
    min_mw: float
    max_mw: float
    period_s: float
    shares: tuple[BudgetShare, ...]


@dataclass(frozen=True, slots=True)
class ChargeLimit:
    """Charging is cut to ``current_frac`` of the full current from ``set_c`` of the skin until ``clear_c``."""

    set_c: float
    clear_c: float
    current_frac: float


@dataclass(frozen=True, slots=True)
class Thermal:
    """A network of heat capacities and conductances, sensors on it, and what the policy does when it is hot.

    Processors heat the node ``soc``, the cell's losses the node ``battery`` (if there is one), the screen
    and the rest the node ``skin``, which is a board's surface as well.
    """

    ambient_c: float
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    sensors: tuple[Sensor, ...]
    throttles: tuple[Throttle, ...]
    budgets: tuple[PowerBudget, ...] = ()
    charging: tuple[ChargeLimit, ...] = ()

    def sensor(self, name: str) -> Sensor:
        """Return the sensor ``name``; raise ``KeyError``."""
        for sensor in self.sensors:
            if sensor.name == name:
                return sensor
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device. A board has no battery, screen or media of its own (``None``).

    ``references`` tells what each reference's key stands for, ``notes`` what is odd about the figures.
    ``ncnn_device`` is how ncnn's published benchmark calls a device with this chip; empty for none.
    """

    name: str
    title: str
    kind: str
    year: int
    chip: str
    cpu: Cpu
    memory: Memory
    radio: Radio
    thermal: Thermal
    processors: tuple[Processor, ...]
    battery: Battery | None = None
    gpu: Accelerator | None = None
    npu: Accelerator | None = None
    screen: Screen | None = None
    media: Media | None = None
    ncnn_device: str = ""
    notes: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def processor(self, name: str) -> Processor:
        """Return the processor ``name``; raise ``KeyError``."""
        for processor in self.processors:
            if processor.name == name:
                return processor
        raise KeyError(name)

    def cluster_of(self, processor: Processor) -> Cluster | None:
        """Return the cluster whose cores a processor owns, ``None`` for accelerators."""
        for cluster in self.cpu.clusters:
            if processor.kind == "cpu" and set(processor.cores) <= set(cluster.cores):
                return cluster
        return None

    def accelerator_of(self, processor: Processor) -> Accelerator | None:
        """Return the GPU or NPU a processor stands for, ``None`` for core sets."""
        return {"gpu": self.gpu, "npu": self.npu}.get(processor.kind)
