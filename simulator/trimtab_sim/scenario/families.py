"""What is served and by what: families, processors and profiles of a scenario, as one ``World``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from trimtab.adapters.energy import PowerModel
from trimtab.adapters.family_store import MANIFEST, FamilyError, shipped_families
from trimtab.domain.family import Family, Profile
from trimtab.domain.policy import Filter
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source, energy_uj
from trimtab.domain.settings import allows
from trimtab.policy.errors import Path as Place
from trimtab.policy.errors import Problem
from trimtab.policy.structure import nearest
from trimtab_sim.catalogue.load import format_of, load_catalogue
from trimtab_sim.catalogue.model import Catalogue
from trimtab_sim.catalogue.power import ProfilePower
from trimtab_sim.catalogue.shipped import shipped_catalogues
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.driver import World
from trimtab_sim.scenario.devices import device_file
from trimtab_sim.scenario.model import MAX_NOTES, FamilyChoice, ProcessorChoice, Scenario


def scenario_world(
    scenario: Scenario, device: DeviceProfile | None, problems: list[Problem], notes: list[str]
) -> World | None:
    """Return what is decided among, ``None`` without any; what is wrong is added to ``problems``."""
    document, before = scenario.document, len(problems)
    merged = World((), (), {})
    for place, choice in _placed(scenario):
        try:
            part = _chosen(choice, scenario, notes)
        except (FamilyError, ValueError) as error:
            problems.append(document.problem(place, str(error)))
            continue
        twice = {family.task for family in merged.families} & {family.task for family in part.families}
        problems += [
            document.problem(place, f"task {task!r} is served by two families") for task in sorted(twice)
        ]
        merged = _merged(merged, part)
    if len(problems) > before:
        return None
    found = list(_unknown(merged, scenario.processors))
    if not found:
        merged = with_processors(merged, scenario.processors, device)
        found = [*_strangers(merged, device), *_unserved(merged)]
    problems += [document.problem(place, message) for place, message in found]
    return merged


def _placed(scenario: Scenario) -> Iterator[tuple[Place, FamilyChoice]]:
    """Yield the families asked for, each with its place in the document."""
    given = scenario.document.root.plain()
    listed = isinstance(given, dict) and isinstance(given.get("family"), list)
    for index, choice in enumerate(scenario.families):
        yield ("family", index) if listed else ("family",), choice


def _chosen(choice: FamilyChoice, scenario: Scenario, notes: list[str]) -> World:
    """Return one choice's families with their profiles; raise ``FamilyError`` or ``ValueError``."""
    found = _read(choice, scenario)
    notes += [str(problem) for problem in found.reported[:MAX_NOTES]]
    if len(found.reported) > MAX_NOTES:
        more = len(found.reported) - MAX_NOTES
        notes.append(f"{choice.source}: {more} more rows were left out or completed by assumptions")
    families = [family for family in found.families if allows(choice.tasks, family.task)]
    if not families:
        known = [family.task for family in found.families]
        raise ValueError(f"no task is left; there are {', '.join(known)}")
    kept = [_narrowed(family if choice.all_variants else family.offered(), choice) for family in families]
    names = {family.task: {variant.name for variant in family.variants} for family in kept}
    profiles = {
        task: tuple(profile for profile in found.profiles.get(task, ()) if profile.variant in left)
        for task, left in names.items()
    }
    return World(found.processors, tuple(kept), profiles)


def _narrowed(family: Family, choice: FamilyChoice) -> Family:
    """Return the family with the variants asked for; raise ``ValueError`` when none is left.

    Reference and last resort become the most and the least accurate variant when they are left out.
    """
    variants = tuple(variant for variant in family.variants if allows(choice.variants, variant.name))
    if not variants:
        known = ", ".join(variant.name for variant in family.variants)
        raise ValueError(f"no variant of task {family.task!r} is left; there are {known}")
    names = {variant.name for variant in variants}
    by_accuracy = sorted(variants, key=lambda variant: variant.accuracy_frac)
    return replace(
        family,
        variants=variants,
        reference=family.reference if family.reference in names else by_accuracy[-1].name,
        last_resort=family.last_resort if family.last_resort in names else by_accuracy[0].name,
    )


def _read(choice: FamilyChoice, scenario: Scenario) -> Catalogue:
    """Read a shipped family, a folder or a catalogue; the latter with the scenario's device, if it has one."""
    folder, shipped = scenario.document.folder, shipped_sources()
    path = shipped.get(choice.source, folder / Path(choice.source).expanduser())
    if not path.exists():
        raise ValueError(f"{path}: no such file or family{nearest(choice.source, list(shipped))}")
    options = dict(choice.options)
    if (
        scenario.device is not None
        and isinstance(scenario.device.profile, str)
        and format_of(path) != "manifest"
    ):
        options.setdefault("device_profile", str(device_file(scenario.device.profile, folder)))
    return load_catalogue(path, **options)


def shipped_sources() -> dict[str, Path]:
    """Return what ships by name: built families, and catalogues by the file's name without its ending."""
    built = {one.parent.name: one.parent for one in sorted(shipped_families().glob(f"*/{MANIFEST}"))}
    tables = {path.stem: path for path in sorted(shipped_catalogues().glob("*.csv"))}
    return tables | built


def _merged(one: World, other: World) -> World:
    """Return both worlds as one; processors of the same name are the same."""
    processors = {processor.name: processor for processor in (*one.processors, *other.processors)}
    profiles = {**one.profiles, **other.profiles}
    return World(tuple(processors.values()), (*one.families, *other.families), profiles)


def _unknown(world: World, choices: Sequence[ProcessorChoice]) -> Iterator[tuple[Place, str]]:
    """Yield processors asked for that are not there, and those that are made twice."""
    known = [processor.name for processor in world.processors]
    for index, choice in enumerate(choices):
        place: Place = ("processors", index)
        if choice.like and choice.like not in known:
            yield (*place, "like"), f"no processor is called {choice.like!r}{nearest(choice.like, known)}"
        if choice.like and choice.name in known:
            yield (*place, "name"), f"there is a processor {choice.name!r} already"
        if choice.like and not _is_remote(world, choice.like):
            for key in ("usd_per_request", "usd_per_ms", "concurrent"):
                if getattr(choice, key) is not None:
                    yield (*place, key), f"{key} is for servers, and {choice.like!r} is none"
        if not choice.like and not any(allows(_only(choice), name) for name in known):
            yield place, f"{choice.name!r} matches no processor{nearest(choice.name, known)}"


def _is_remote(world: World, name: str) -> bool:
    return any(processor.name == name and processor.is_remote for processor in world.processors)


def _strangers(world: World, device: DeviceProfile | None) -> Iterator[tuple[Place, str]]:
    """Yield processors that a device does not have; a server is elsewhere."""
    known = [] if device is None else [processor.name for processor in device.processors]
    strange = [one.name for one in world.processors if one.kind != "remote" and one.name not in known]
    if device is not None and strange:
        yield (
            ("device",),
            (
                f"{device.name} has no processor {strange[0]!r}, which the profiles are of; it has {', '.join(known)}. "
                f"Make its own from it: processors: [{{name: {known[0]}, like: {strange[0]}, latency_factor: ...}}]"
            ),
        )


def _unserved(world: World) -> Iterator[tuple[Place, str]]:
    """Yield tasks that no processor has profiles of."""
    for task, profiles in world.profiles.items():
        if not profiles:
            yield ("processors",), f"no profile of task {task!r} is of one of these"


def with_processors(
    world: World, choices: Sequence[ProcessorChoice], device: DeviceProfile | None = None
) -> World:
    """Return the world with the processors asked for, in that order; all there are when none is.

    A processor made under the name of one of the device's has its cores; unless told otherwise, its energy is
    that of the device's power profile over the scaled latency.
    """
    if not choices:
        return world
    by_name = {processor.name: processor for processor in world.processors}
    kept: dict[str, Processor] = {}
    profiles: dict[str, list[Profile]] = {task: [] for task in world.profiles}
    for choice in choices:
        if choice.like:
            kept[choice.name] = made = _made(choice, by_name[choice.like], device)
            known = device is not None and any(made.name == one.name for one in device.processors)
            power_mw = ProfilePower(device, PowerModel()).active_mw(made) if known and device else None
            for task, some in world.profiles.items():
                like = [one for one in some if one.processor == choice.like]
                profiles[task] += [_scaled(one, choice, power_mw) for one in like]
            continue
        names = [name for name in by_name if allows(_only(choice), name) and name not in kept]
        kept.update((name, by_name[name]) for name in names)
        for task, some in world.profiles.items():
            profiles[task] += [one for one in some if one.processor in names]
    return World(tuple(kept.values()), world.families, {task: tuple(some) for task, some in profiles.items()})


_TOLD: Final = ("cores", "usd_per_request", "usd_per_ms", "concurrent")
"""What a scenario may say about a processor that it makes."""


def _only(choice: ProcessorChoice) -> Filter:
    return Filter((choice.name,))


def _made(choice: ProcessorChoice, like: Processor, device: DeviceProfile | None) -> Processor:
    """Return the device's processor of that name, else one like the other; cores asked for come first."""
    own = [processor for processor in (device.processors if device else ()) if processor.name == choice.name]
    base = own[0] if own else replace(like, name=choice.name)
    told = {key: getattr(choice, key) for key in _TOLD}
    return replace(base, **{key: value for key, value in told.items() if value is not None})


def _scaled(profile: Profile, choice: ProcessorChoice, power_mw: float | None) -> Profile:
    """Return a profile on a processor that is slower by a factor, and takes ``power_mw`` or more energy."""
    slower = choice.latency_factor
    latency_ns = tuple(max(1, round(one * slower)) for one in profile.stage_latency_ns)
    load_ns = round(profile.load_ns * slower)
    factor = choice.energy_factor
    if factor is None and power_mw is not None:
        stage_uj = tuple(energy_uj(power_mw, one) for one in latency_ns)
        load_uj = energy_uj(power_mw, load_ns)
    else:
        stage_uj = tuple(one * (factor or 1.0) for one in profile.stage_energy_uj)
        load_uj = profile.load_energy_uj * (factor or 1.0)
    return replace(
        profile,
        processor=choice.name,
        stage_latency_ns=latency_ns,
        stage_energy_uj=stage_uj,
        load_ns=load_ns,
        load_energy_uj=load_uj,
        latency_ns_p95=round(profile.latency_ns_p95 * slower),
        latency_source=Source.ASSUMED,
        energy_source=Source.ASSUMED,
    )
