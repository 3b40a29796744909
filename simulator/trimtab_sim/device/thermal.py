"""Heat: a network of capacities and conductances in closed form, and what the thermal policy does about it.

Each node i has a capacity C_i, a temperature T_i and is heated by P_i; links conduct g_ij, some to ambient:

    C_i dT_i/dt = P_i - sum_j g_ij (T_i - T_j) - g_i (T_i - T_ambient)

With y = Q' C^1/2 T, where Q holds the eigenvectors of C^-1/2 G C^-1/2 (symmetric, eigenvalues l), each mode
passes time alone: y(t) = y(0) exp(-l t) + b (1 - exp(-l t)) / l. No time step limits it.
"""

from collections.abc import Mapping, Sequence
from math import copysign, exp, inf, sqrt
from typing import Final

from trimtab_sim.device.cpu import Target, step_at
from trimtab_sim.device.profile import PowerBudget, Sensor, Thermal, Throttle

SWEEPS: Final = 50
"""More sweeps than the Jacobi method needs for any matrix of this size."""
DEVICE: Final = "device"
NEAR_C: Final = 4.0
"""A sensor this close below the next temperature at which anything happens is watched closely."""


class HeatNetwork:
    """The temperatures of a device's nodes over time; heat in mW per node, in the profile's order."""

    def __init__(self, thermal: Thermal, ambient_c: float | None = None) -> None:
        """Begin with every node at ``ambient_c`` (the profile's if not given)."""
        self.names = tuple(node.name for node in thermal.nodes)
        self.ambient_c = thermal.ambient_c if ambient_c is None else ambient_c
        index = {name: i for i, name in enumerate(self.names)}
        count = len(self.names)
        self._root = [sqrt(node.j_per_c) for node in thermal.nodes]
        conductance = [[0.0] * count for _ in range(count)]
        outside = [0.0] * count
        for link in thermal.links:
            inner = [index[end] for end in link.ends if end in index]
            for i in inner:
                conductance[i][i] += link.w_per_c
            if len(inner) == 2:
                one, other = inner
                conductance[one][other] -= link.w_per_c
                conductance[other][one] -= link.w_per_c
            else:
                outside[inner[0]] += link.w_per_c
        root = self._root
        scaled = [[conductance[i][j] / (root[i] * root[j]) for j in range(count)] for i in range(count)]
        self._rates, self._modes = eigen(scaled)
        self._outside = [sum(mode[i] * outside[i] / root[i] for i in range(count)) for mode in self._modes]
        self._inward = [[mode[i] / root[i] / 1000 for i in range(count)] for mode in self._modes]
        self._outward = [[mode[i] / root[i] for mode in self._modes] for i in range(count)]
        self._state = [0.0] * count
        self.temperatures_c = [self.ambient_c] * count
        self.set_temperatures(self.temperatures_c)

    def set_temperatures(self, temperatures_c: Sequence[float]) -> None:
        """Put every node at a temperature."""
        self.temperatures_c = list(temperatures_c)
        heat = [t * root for t, root in zip(temperatures_c, self._root, strict=True)]
        self._state = [sum(m * h for m, h in zip(mode, heat, strict=True)) for mode in self._modes]

    def modes(self, node: str) -> tuple[list[float], list[float], list[float]]:
        """Return each mode's rate (1/s), what a degree of ambient drives it by, and its part in a node."""
        return list(self._rates), list(self._outside), list(self._outward[self.names.index(node)])

    def temperature_c(self, node: str) -> float:
        """Return a node's temperature; raise ``ValueError`` for an unknown one."""
        return self.temperatures_c[self.names.index(node)]

    def pass_time(self, duration_s: float, heat_mw: Sequence[float]) -> None:
        """Let time pass with constant heat in each node and constant ambient temperature."""
        state, ambient = self._state, self.ambient_c
        for k, rate in enumerate(self._rates):
            drive = self._outside[k] * ambient
            for inward, heat in zip(self._inward[k], heat_mw, strict=True):
                drive += inward * heat
            if rate > 1e-12:
                settled = drive / rate
                state[k] = settled + (state[k] - settled) * exp(-rate * duration_s)
            else:
                state[k] += drive * duration_s
        self.temperatures_c = [
            sum(out * value for out, value in zip(row, state, strict=True)) for row in self._outward
        ]


def eigen(matrix: Sequence[Sequence[float]]) -> tuple[list[float], list[list[float]]]:
    """Return eigenvalues and eigenvectors (one per row) of a small symmetric matrix.

    Cyclic Jacobi (Golub, Van Loan, Matrix Computations, 8.5): the same bits on every machine, which linear
    algebra libraries do not promise.
    """
    count = len(matrix)
    a = [list(row) for row in matrix]
    vectors = [[float(i == j) for j in range(count)] for i in range(count)]
    for _ in range(SWEEPS):
        if sum(a[p][q] ** 2 for p in range(count) for q in range(p)) <= 1e-30 * sum(
            a[i][i] ** 2 for i in range(count)
        ):
            break
        for p in range(count):
            for q in range(p + 1, count):
                _rotate(a, vectors, p, q)
    return [a[i][i] for i in range(count)], vectors


def _rotate(a: list[list[float]], vectors: list[list[float]], p: int, q: int) -> None:
    """Turn rows and columns ``p`` and ``q`` so that what they share vanishes."""
    if a[p][q] == 0.0:
        return
    theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q])
    t = copysign(1.0, theta) / (abs(theta) + sqrt(theta * theta + 1.0))
    c = 1.0 / sqrt(t * t + 1.0)
    s = t * c
    for row in a:
        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
    for k in range(len(a)):
        a[p][k], a[q][k] = c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]
    for k in range(len(a)):
        vectors[p][k], vectors[q][k] = (
            c * vectors[p][k] - s * vectors[q][k],
            s * vectors[p][k] + c * vectors[q][k],
        )


class Throttling:
    """The clocks that the thermal policy allows, from the temperatures of its sensors.

    Caps set and clear at two temperatures. Power budgets are the PID controller of Android's thermal HAL
    (hardware/google/pixel/thermal, ``ThermalThrottling::updatePowerBudget``): what busy targets do not need
    of their share goes to the others, and a cap moves by one frequency step per evaluation, as most policies'
    ``MaxThrottleStep`` says. It does not see what each target really draws, as phones with power rails do.
    """

    def __init__(self, thermal: Thermal, targets: Mapping[str, Target]) -> None:
        """Begin cool: nothing is limited."""
        node = {name: i for i, name in enumerate(one.name for one in thermal.nodes)}
        self._sensors = tuple(thermal.sensors)
        self._node = {sensor.name: node[sensor.node] for sensor in thermal.sensors}
        self._throttles = tuple(thermal.throttles)
        self._set = [False] * len(self._throttles)
        self._budgets = tuple(_Budget(budget, targets) for budget in thermal.budgets)
        self._hot_at = self._lowest()
        self._severity = dict.fromkeys((sensor.name for sensor in self._sensors), 0)
        self._targets = targets
        self.caps_khz: dict[str, float] = {}
        """The highest clock allowed, for the targets that are limited."""
        self.shut_down = False
        """Whether it is so hot that the device is off: everything is stopped until it has cooled."""

    @property
    def active(self) -> bool:
        """Return whether anything is limited or a budget is being kept."""
        return bool(self.caps_khz) or any(budget.engaged for budget in self._budgets)

    def severity(self, sensor: str) -> int:
        """Return a sensor's severity, 0 (none) to 6 (shutdown); raise ``KeyError`` for an unknown one."""
        return self._severity[sensor]

    def watch_closely(self, temperatures_c: Sequence[float]) -> bool:
        """Return whether something is limited or may soon be."""
        return self.active or any(temperatures_c[i] > at_c - NEAR_C for i, at_c in self._hot_at)

    def update(self, temperatures_c: Sequence[float], now_s: float) -> None:
        """Look at the sensors at a time in seconds that never goes back."""
        for sensor in self._sensors:
            at_c = temperatures_c[self._node[sensor.name]]
            self._severity[sensor.name] = _severity(sensor, at_c, self._severity[sensor.name])
        caps: dict[str, float] = {}
        for i, throttle in enumerate(self._throttles):
            self._set[i] = _is_set(throttle, temperatures_c[self._node[throttle.sensor]], self._set[i])
            if self._set[i]:
                _limit(caps, throttle.target, throttle.max_khz)
        self.shut_down = DEVICE in caps
        if self.shut_down:
            caps = dict.fromkeys(self._targets, 0.0)
        for budget in self._budgets:
            budget.update(temperatures_c[self._node[budget.sensor]], now_s)
            for target, khz in budget.caps_khz.items():
                _limit(caps, target, khz)
        self.caps_khz = caps

    def _lowest(self) -> list[tuple[int, float]]:
        """Return per sensor's node the lowest temperature at which anything happens."""
        lowest: dict[int, float] = {}
        rules = [(throttle.sensor, throttle.set_c) for throttle in self._throttles]
        rules += [(budget.sensor, budget.engage_c) for budget in self._budgets]
        for sensor, at_c in rules:
            i = self._node[sensor]
            lowest[i] = min(lowest.get(i, inf), at_c)
        return sorted(lowest.items())


def _severity(sensor: Sensor, at_c: float, now: int) -> int:
    """Return the severity at a temperature: up at a threshold, down once below it by the hysteresis."""
    level = now
    while level < len(sensor.hot_c) and _reached(sensor, at_c, level + 1):
        level += 1
    while level > 0 and at_c < _left_at(sensor, level):
        level -= 1
    return level


def _reached(sensor: Sensor, at_c: float, level: int) -> bool:
    """Return whether the threshold of a severity or of a higher one is reached (some have none)."""
    return any(at_c >= hot_c for hot_c in sensor.hot_c[level - 1 :])


def _left_at(sensor: Sensor, level: int) -> float:
    """Return below which temperature a severity is left; one without a threshold is left at once."""
    hot_c = sensor.hot_c[level - 1]
    return hot_c if hot_c == inf else hot_c - sensor.hysteresis_c[level - 1]


def _is_set(throttle: Throttle, at_c: float, was_set: bool) -> bool:
    return at_c >= throttle.set_c or (was_set and at_c >= throttle.clear_c)


def _limit(caps: dict[str, float], target: str, khz: float) -> None:
    caps[target] = min(caps.get(target, inf), khz)


class _Budget:
    """One power budget's controller."""

    def __init__(self, budget: PowerBudget, targets: Mapping[str, Target]) -> None:
        self.sensor, self.engage_c = budget.sensor, budget.engage_c
        self.engaged = False
        self.caps_khz: dict[str, float] = {}
        self._budget = budget
        self._targets = {share.target: targets[share.target] for share in budget.shares}
        self._step = {name: len(target.khz) - 1 for name, target in self._targets.items()}
        self._integral_mw = 0.0
        self._due_s = 0.0

    def update(self, at_c: float, now_s: float) -> None:
        """Evaluate if it is time."""
        budget = self._budget
        self.engaged = at_c >= budget.engage_c or (self.engaged and at_c >= budget.release_c)
        if not self.engaged:
            self._integral_mw = self._due_s = 0.0
            self._step = {name: len(target.khz) - 1 for name, target in self._targets.items()}
            self.caps_khz = {}
            return
        if now_s < self._due_s:
            return
        self._due_s = now_s + budget.period_s
        allowed = self._divide(self.power_mw(budget.target_c - at_c))
        for share in budget.shares:
            target, step = self._targets[share.target], self._step[share.target]
            wanted = _step_for(target, allowed[share.target])
            floor = step_at(target.khz, share.floor_khz)
            step = max(min(step, floor), min(step + 1, max(wanted, step - 1, floor)))
            self._step[share.target] = step
        self.caps_khz = {
            name: target.khz[self._step[name]]
            for name, target in self._targets.items()
            if self._step[name] < len(target.khz) - 1
        }

    def power_mw(self, error_c: float) -> float:
        """Return the power allowed at a distance below the target temperature, integral included."""
        budget = self._budget
        gain = budget.over_mw_per_c if error_c < 0 else budget.under_mw_per_c
        if error_c < budget.integral_cutoff_c:
            self._integral_mw += error_c * budget.integral_mw_per_c
        most = budget.integral_max_mw
        self._integral_mw = min(most, max(-most, self._integral_mw))
        power = budget.sustained_mw + gain * error_c + self._integral_mw
        return min(budget.max_mw, max(budget.min_mw, power))

    def _divide(self, power_mw: float) -> dict[str, float]:
        """Return each target's power: by weight, and what one cannot use goes to the others."""
        allowed: dict[str, float] = {}
        left = [share for share in self._budget.shares if share.weight > 0]
        while left:
            weight = sum(share.weight for share in left)
            sated = [
                share for share in left if self._most_mw(share.target) <= power_mw * share.weight / weight
            ]
            for share in sated or left:
                most_mw = self._most_mw(share.target)
                allowed[share.target] = most_mw if sated else power_mw * share.weight / weight
            if not sated:
                break
            power_mw -= sum(allowed[share.target] for share in sated)
            left = [share for share in left if share not in sated]
        for share in self._budget.shares:
            allowed.setdefault(share.target, inf)
        return allowed

    def _most_mw(self, target: str) -> float:
        return self._targets[target].power_mw[-1]


def _step_for(target: Target, power_mw: float) -> int:
    """Return the fastest step that needs at most this power; the slowest if none does."""
    for step in range(len(target.khz) - 1, 0, -1):
        if target.power_mw[step] <= power_mw:
            return step
    return 0
