"""The control plane between wire and domain. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from trimtab.domain.decision import Verdict
from trimtab.domain.family import Family
from trimtab.domain.grounds import Grounds
from trimtab.engine.api import PolicyText, Record, Status
from trimtab.policy.errors import Problem
from trimtab.ports import Entry, Story
from trimtab.rpc.mirror import fill, read
from trimtab.rpc.pb import control_pb2 as pb


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One event or command of a request's story, with its fields as plain values."""

    seq: int
    at_ns: int
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A request's story as a client sees it: what happened, all verdicts of each decision and what it stood on."""

    request_id: str
    entries: tuple[StoryEntry, ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    grounds: tuple[Grounds, ...] = ()


def story_to_wire(story: Story) -> pb.Story:
    """Return the wire form of a request's story."""
    message = pb.Story(request_id=story.request_id, entries=[_entry(entry) for entry in story.entries])
    for verdicts in story.verdicts:
        group = message.verdicts.add()
        for verdict in verdicts:
            fill(group.verdicts.add(), verdict).why_text = verdict.why.value
    for grounds in story.grounds:
        fill(message.grounds.add(), grounds)
    return message


def story_from_wire(message: pb.Story) -> Explanation:
    """Return a request's story as a client sees it."""
    entries = (StoryEntry(e.seq, e.at_ns, e.kind, msgspec.json.decode(e.json)) for e in message.entries)
    verdicts = (tuple(read(Verdict, verdict) for verdict in group.verdicts) for group in message.verdicts)
    grounds = (read(Grounds, one) for one in message.grounds)
    return Explanation(message.request_id, tuple(entries), tuple(verdicts), tuple(grounds))


def status_to_wire(status: Status) -> pb.Status:
    """Return the wire form of a snapshot."""
    return fill(pb.Status(), status)


def status_from_wire(message: pb.Status) -> Status:
    """Return the snapshot in ``message``."""
    return read(Status, message)


def record_to_wire(record: Record) -> pb.Record:
    """Return the wire form of a finished request."""
    return fill(pb.Record(), record)


def record_from_wire(message: pb.Record) -> Record:
    """Return the finished request in ``message``."""
    return read(Record, message)


def families_to_wire(families: Iterable[Family]) -> pb.ListFamiliesResponse:
    """Return the wire form of families."""
    response = pb.ListFamiliesResponse()
    for family in families:
        fill(response.families.add(), family)
    return response


def families_from_wire(message: pb.ListFamiliesResponse) -> tuple[Family, ...]:
    """Return the families in ``message``."""
    return tuple(read(Family, family) for family in message.families)


def policy_to_wire(text: PolicyText) -> pb.GetPolicyResponse:
    """Return the wire form of the policy in force."""
    return pb.GetPolicyResponse(
        name=text.policy.name, description=text.policy.description, yaml=text.yaml, source=text.source
    )


def problems_to_wire(problems: Iterable[Problem]) -> list[pb.PolicyProblem]:
    """Return the wire form of what is wrong with a policy."""
    return [fill(pb.PolicyProblem(), problem) for problem in problems]


def problems_from_wire(messages: Sequence[pb.PolicyProblem]) -> tuple[Problem, ...]:
    """Return what is wrong with a policy."""
    return tuple(read(Problem, message) for message in messages)


def passes(record: Record, request: pb.WatchDecisionsRequest) -> bool:
    """Return whether a watcher asked for this record."""
    return _matches(record.task, request.task) and _matches(record.app, request.app)


def _matches(name: str, pattern: str) -> bool:
    return not pattern or fnmatchcase(name, pattern)


def _entry(entry: Entry) -> pb.Entry:
    text = msgspec.json.encode(entry.item).decode()
    return pb.Entry(seq=entry.seq, at_ns=entry.at_ns, kind=type(entry.item).__name__, json=text)
