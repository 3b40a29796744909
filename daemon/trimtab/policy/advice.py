"""Warnings about a valid policy on one device: names that exist nowhere, filters that leave nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from trimtab.domain.policy import Change, Condition, Filter, Policy
from trimtab.domain.settings import allows, apply
from trimtab.policy.build import APP_RULE
from trimtab.policy.document import parse_document
from trimtab.policy.errors import Path, Problem, spell
from trimtab.policy.load import place
from trimtab.policy.strategy import names_in
from trimtab.policy.structure import nearest

_DEFAULTS: Final[Path] = ("defaults",)
_Found = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a device has: the names of variants by task, and of processors."""

    variants: Mapping[str, tuple[str, ...]]
    processors: tuple[str, ...]

    def variants_of(self, tasks: Iterable[str]) -> list[str]:
        """Return the names of all variants of these tasks, each once."""
        return list(dict.fromkeys(name for task in tasks for name in self.variants.get(task, ())))


def check_against(
    policy: Policy, inventory: Inventory, text: str = "", name: str = "<string>"
) -> tuple[Problem, ...]:
    """Return warnings in the order of the document; given its ``text``, they have lines and columns."""
    found = [*_strategy(policy.strategy, inventory), *_defaults(policy, inventory)]
    for entry in policy.tasks:
        found += _task(policy, inventory, entry.task, entry.change)
    apps = [rule for rule in policy.rules if rule.name.startswith(APP_RULE)]
    for rule in apps:
        where: Path = ("apps", rule.name.removeprefix(APP_RULE))
        found += _change(policy, inventory, rule.then, where, list(inventory.variants))
    for index, rule in enumerate(policy.rules[len(apps) :]):
        tasks = [task for task in inventory.variants if _concerns(rule.when, task)]
        found += _condition(rule.when, inventory, ("rules", index, "when"))
        found += _change(policy, inventory, rule.then, ("rules", index, "then"), tasks)
    if not text:
        return tuple(Problem(name, 0, 0, spell(path), message) for path, message in found)
    root, _ = parse_document(text, name)
    return tuple(place(((path, False, message) for path, message in found), root, name))


def _strategy(strategy: str, inventory: Inventory) -> Iterator[_Found]:
    """Warn of variants and processors that a strategy names and that do not exist."""
    variants, processors = names_in(strategy)
    known = inventory.variants_of(inventory.variants)
    for variant in variants:
        if not any(fnmatchcase(name, variant) for name in known):
            yield ("strategy",), f"no task has a variant {variant!r}{nearest(variant, known)}"
    for processor in processors:
        if processor not in inventory.processors:
            hint = nearest(processor, list(inventory.processors))
            yield ("strategy",), f"no processor is called {processor!r}{hint}"


def _defaults(policy: Policy, inventory: Inventory) -> Iterator[_Found]:
    """Warn about the filters of the defaults."""
    change = Change(variants=policy.defaults.variants, processors=policy.defaults.processors)
    yield from _change(policy, inventory, change, _DEFAULTS, list(inventory.variants))


def _task(policy: Policy, inventory: Inventory, task: str, change: Change) -> Iterator[_Found]:
    """Warn of a task that no family serves, else about its filters."""
    path: Path = ("tasks", task)
    if task not in inventory.variants:
        yield path, f"no family serves this task{nearest(task, list(inventory.variants))}"
        return
    yield from _change(policy, inventory, change, path, [task])


def _change(
    policy: Policy, inventory: Inventory, change: Change, path: Path, tasks: list[str]
) -> Iterator[_Found]:
    """Warn of patterns that match nothing, and of tasks left without a variant or processor."""
    if change.variants is not None:
        yield from _unmatched(change.variants, inventory.variants_of(tasks), "variant", (*path, "variants"))
        for task in tasks:
            before = _of_task(policy, task) if path != _DEFAULTS else []
            left = apply(policy.defaults, [*before, change]).variants
            if inventory.variants[task] and not any(allows(left, name) for name in inventory.variants[task]):
                yield (*path, "variants"), f"no variant of task {task!r} is left"
    if change.processors is not None:
        names = list(inventory.processors)
        yield from _unmatched(change.processors, names, "processor", (*path, "processors"))
        remaining = apply(policy.defaults, [change]).processors
        if names and not any(allows(remaining, name) for name in names):
            yield (*path, "processors"), "no processor is left"


def _of_task(policy: Policy, task: str) -> list[Change]:
    """Return what the policy changes for one task."""
    return [entry.change for entry in policy.tasks if entry.task == task]


def _unmatched(names: Filter, known: list[str], kind: str, path: Path) -> Iterator[_Found]:
    """Warn of each pattern that matches none of the known names."""
    for side, patterns in (("allow", names.allow), ("deny", names.deny)):
        for index, pattern in enumerate(patterns):
            if not any(fnmatchcase(name, pattern) for name in known):
                yield (*path, side, index), f"{pattern!r} matches no {kind}{nearest(pattern, known)}"


def _condition(condition: Condition, inventory: Inventory, path: Path) -> Iterator[_Found]:
    """Warn of task patterns in a condition that match no task."""
    known = list(inventory.variants)
    for index, pattern in enumerate(condition.tasks):
        if not any(fnmatchcase(task, pattern) for task in known):
            yield (*path, "task", index), f"{pattern!r} matches no task{nearest(pattern, known)}"
    for key, parts in (("any", condition.any_of), ("not", condition.none_of)):
        for index, part in enumerate(parts):
            yield from _condition(part, inventory, (*path, key, index))


def _concerns(condition: Condition, task: str) -> bool:
    """Return whether a condition can hold for a task, going by the task patterns on top."""
    return not condition.tasks or any(fnmatchcase(task, pattern) for pattern in condition.tasks)
