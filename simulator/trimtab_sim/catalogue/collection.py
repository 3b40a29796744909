"""What a file of published latencies tells of many devices, and the catalogue of one of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, Source
from trimtab_sim.catalogue.build import Basis, build, plain_name
from trimtab_sim.catalogue.measurements import LatencyTable, Measurement, Model, Setup, Trait
from trimtab_sim.catalogue.model import Catalogue, Network, Run
from trimtab_sim.catalogue.predict import Prediction, Predictor
from trimtab_sim.catalogue.table import Findings

FASTEST: Final = "fastest"
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Detail:
    """What else a row tells about a run."""

    latency_spread: float | None = None
    resident_bytes: int | None = None


@dataclass(slots=True)
class Collection:
    """Measurements, and networks by model and runtime; the runtime is empty where accuracy is for all of them."""

    findings: Findings
    rows: list[Measurement] = field(default_factory=list)
    details: dict[Measurement, Detail] = field(default_factory=dict)
    networks: dict[tuple[Model, str], Network] = field(default_factory=dict)
    traits: dict[str, Trait] = field(default_factory=dict)
    _lines: dict[tuple[Setup, Model], int] = field(default_factory=dict)

    def add(self, row: Measurement, detail: Detail | None = None) -> None:
        """Add a measurement; a second one of the same setup and model is reported and left out."""
        first = self._lines.setdefault((row.setup, row.model), row.line)
        if first != row.line:
            self.findings.report(
                row.line, "", f"another figure of line {first}'s network; the first is taken"
            )
            return
        self.rows.append(row)
        if detail is not None:
            self.details[row] = detail

    def tell(self, model: Model, network: Network, line: int, runtime: str = "") -> None:
        """Add what is known of a network; another accuracy than told before is reported and left out."""
        known = self.networks.setdefault((model, runtime), network)
        if known.accuracy_frac != network.accuracy_frac:
            told, before = network.accuracy_frac, known.accuracy_frac
            self.findings.report(
                line, "", f"accuracy {told:g} of {network.name}, told as {before:g} before, which is taken"
            )
            return
        self.networks[model, runtime] = _merged(known, network)

    def key(self, setup: Setup, model: Model) -> tuple[Model, str] | None:
        """Return the key of the network that ran, if its accuracy is known."""
        keys = ((model, setup.runtime), (model, ""))
        return next((key for key in keys if key in self.networks), None)

    def table(self) -> LatencyTable:
        """Return all measurements."""
        return LatencyTable(tuple(self.rows), self.traits, tuple(self.findings.reported))


def _merged(known: Network, more: Network) -> Network:
    """Return a network with the figures of either; the first wins."""
    return replace(
        known,
        parameters=known.parameters or more.parameters,
        macs=known.macs or more.macs,
        artefact_bytes=known.artefact_bytes or more.artefact_bytes,
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which device's rows to take, how its processors are called, which runtime, and whether to fill gaps.

    ``runtime`` is one's name, ``fastest`` (for each model and precision the one that is on this device) or
    ``all`` (one variant for each). With ``fill`` variants that were not measured on a processor get a
    predicted latency, tagged assumed.
    """

    device: str
    place: Callable[[Setup], Processor]
    runtime: str = FASTEST
    fill: bool = False


@dataclass(frozen=True, slots=True)
class _Offer:
    """A run, the model it is of, and the runtime its accuracy is of; empty when it is the same in all."""

    run: Run
    runtime: str
    model: Model


def catalogue_of(collection: Collection, choice: Choice, basis: Basis) -> Catalogue:
    """Return the catalogue of one device; raise ``CatalogueError``. Rows left out are reported."""
    findings = collection.findings
    if not collection.rows:
        raise findings.nothing_left()
    try:
        device = collection.table().find_device(choice.device)
    except ValueError as error:
        raise findings.refuse(f"device: {error}") from error
    choice = replace(choice, device=device)
    offers = list(_measured(collection, choice))
    if choice.fill:
        offers += _predicted(collection, choice, offers)
    kept = _one_runtime(offers, choice, findings)
    return build(_fastest(kept, findings), basis, findings)


def _measured(collection: Collection, choice: Choice) -> Iterator[_Offer]:
    """Yield what was measured on the device; a network without accuracy is reported and left out."""
    for row in collection.rows:
        if row.setup.device != choice.device or not _wanted(row.setup.runtime, choice):
            continue
        key = collection.key(row.setup, row.model)
        if key is None:
            what = f"{row.model.name} {row.model.precision}".strip()
            collection.findings.report(row.line, "", f"no accuracy is known of {what}; the row is left out")
            continue
        detail = collection.details.get(row, Detail())
        run = Run(
            line=row.line,
            network=_named(collection.networks[key], key[1], choice),
            processor=choice.place(row.setup),
            latency_ns=row.latency_ns,
            latency_spread=detail.latency_spread,
            resident_bytes=detail.resident_bytes,
        )
        yield _Offer(run, key[1], row.model)


def _wanted(runtime: str, choice: Choice) -> bool:
    return choice.runtime in (FASTEST, ALL, runtime)


def _named(network: Network, runtime: str, choice: Choice) -> Network:
    """Return the network, called after its runtime too where several may be there."""
    if choice.runtime != ALL or not runtime:
        return network
    return replace(network, name=plain_name(f"{network.name}-{runtime}"))


def _predicted(collection: Collection, choice: Choice, measured: Sequence[_Offer]) -> list[_Offer]:
    """Return a run for each variant on each setup of the device where it was not measured but might run."""
    gaps = list(_gaps(collection, choice, measured))
    guesses = Predictor(collection.table()).predict_all([(gap.setup, gap.model) for gap in gaps])
    found = []
    for gap, guess in zip(gaps, guesses, strict=True):
        what = f"{gap.network.name} on {gap.setup.unit} {gap.setup.cores or gap.setup.runtime}".rstrip()
        if guess is None:
            collection.findings.report(0, "", f"{what}: no latency is known to predict one from")
            continue
        found.append(_Offer(_guess(gap, guess, choice), gap.runtime, gap.model))
        told = f"{guess.latency_ns / NS_PER_MS:.3g} ms, within a factor of {math.exp(2 * guess.spread):.2g}"
        collection.findings.report(0, "", f"{what} is predicted: {told}")
    return found


@dataclass(frozen=True, slots=True)
class _Gap:
    """A network that could run in a setup, where nobody measured it."""

    setup: Setup
    model: Model
    runtime: str
    network: Network


def _gaps(collection: Collection, choice: Choice, measured: Sequence[_Offer]) -> Iterator[_Gap]:
    """Yield networks for setups whose unit and runtime, on any device, ran one of that precision."""
    table = collection.table()
    runs = {(row.setup.unit, row.setup.runtime, row.model.precision) for row in table.rows}
    there = {(offer.run.processor.name, offer.runtime, offer.model) for offer in measured}
    for setup in dict.fromkeys(row.setup for row in table.of_device(choice.device)):
        if not _wanted(setup.runtime, choice):
            continue
        name = choice.place(setup).name
        for (model, runtime), network in collection.networks.items():
            possible = (setup.unit, setup.runtime, model.precision) in runs and runtime in ("", setup.runtime)
            if possible and (name, runtime, model) not in there:
                yield _Gap(setup, model, runtime, network)


def _guess(gap: _Gap, guess: Prediction, choice: Choice) -> Run:
    return Run(
        line=0,
        network=_named(gap.network, gap.runtime, choice),
        processor=choice.place(gap.setup),
        latency_ns=guess.latency_ns,
        source=Source.ASSUMED,
    )


def _one_runtime(offers: Sequence[_Offer], choice: Choice, findings: Findings) -> list[_Offer]:
    """Return what is left when each model uses one runtime only: the fastest, by measured runs if there are."""
    if choice.runtime != FASTEST:
        return list(offers)
    best: dict[Model, tuple[bool, int, str]] = {}
    for offer in offers:
        rank = (offer.run.source is Source.ASSUMED, offer.run.latency_ns, offer.runtime)
        best[offer.model] = min(best.get(offer.model, rank), rank)
    kept = []
    for offer in offers:
        if offer.runtime == best[offer.model][2]:
            kept.append(offer)
        elif offer.run.line:
            taken = best[offer.model][2]
            findings.report(offer.run.line, "", f"{taken} is faster for {offer.run.network.name}; left out")
    return kept


def _fastest(offers: Sequence[_Offer], findings: Findings) -> list[Run]:
    """Return one run per variant and processor: measured before predicted, then the fastest."""
    best: dict[tuple[str, str, str], Run] = {}
    for offer in sorted(offers, key=lambda one: (one.run.source is Source.ASSUMED, one.run.latency_ns)):
        run = offer.run
        first = best.setdefault((run.network.task, run.network.name, run.processor.name), run)
        if first is not run and run.line:
            where = f"{run.network.name} on {run.processor.name}"
            findings.report(run.line, "", f"line {first.line} is faster for {where}; left out")
    return list(best.values())
