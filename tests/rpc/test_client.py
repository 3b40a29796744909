"""trimtab's own client and the control plane, against a real server."""

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.rpc.conftest import GROUNDS

from trimtab.client import Client, TrimtabError
from trimtab.domain.decision import Cause, Outcome, Why
from trimtab.domain.policy import Goal
from trimtab.engine.api import Record, Status
from trimtab.ports import Story
from trimtab.rpc import control
from trimtab.rpc.pb import control_pb2 as pb


def test_infer_gives_a_typed_reply(client: Client, served: Any, image: Any) -> None:
    reply = client.infer("digits", image, min_accuracy=0.99, request_id="mine")
    np.testing.assert_array_equal(reply.outputs["logits"], served.engine.logits("large", image))
    assert reply.label == int(np.argmax(served.engine.logits("large", image)))
    assert (reply.request_id, reply.decision_id, reply.variant) == ("mine", "r1", "large")
    assert (reply.processor, reply.exit, reply.exit_rule) == ("cpu0", 0, "full")
    assert (reply.queue_us, reply.load_us, reply.run_us) == (1, 0, 9)
    assert (reply.energy_source, reply.on_time, reply.given_up) == ("assumed", True, ("accuracy",))
    assert "not large@cpu0" in reply.reason


def test_goals_travel(client: Client, served: Any, image: Any) -> None:
    client.infer(
        "digits",
        {"image": np.repeat(image, 3, axis=0)},
        latency_budget_ms=20,
        max_energy_mj=1.5,
        priority=1,
        prefer="latency",
        variant="small",
        app="camera",
        timeout_s=5,
    )
    call = served.engine.calls[0]
    assert (call.latency_budget_ns, call.max_energy_uj, call.priority) == (20_000_000, 1_500.0, 1)
    assert (call.prefer, call.variant, call.app, call.batch) == ("latency", "small", "camera", 3)


def test_errors_say_what_and_which_decision(client: Client, served: Any, image: Any) -> None:
    with pytest.raises(TrimtabError, match="known: digits") as caught:
        client.infer("letters", {"image": image})
    assert caught.value.code == "NOT_FOUND"
    served.engine.refusal = (Outcome.REJECTED, Cause.OVERLOAD, "")
    with pytest.raises(TrimtabError, match="overload") as caught:
        client.infer("digits", image)
    assert (caught.value.code, caught.value.decision_id) == ("RESOURCE_EXHAUSTED", "r1")
    with pytest.raises(TrimtabError, match="complex") as caught:
        client.infer("digits", image.astype(complex))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_no_daemon_says_how_to_start_one(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/none.sock"
    with Client(address) as client, pytest.raises(TrimtabError, match="trimtab serve") as caught:
        client.status()
    assert caught.value.code == "UNAVAILABLE"
    assert address in caught.value.message


def test_status_and_families_come_back_as_they_are(client: Client, served: Any) -> None:
    assert client.status() == served.engine.status()
    assert client.families() == (served.engine.family,)
    assert client.families("digits")[0].variant("small").macs == 48
    with pytest.raises(TrimtabError, match="known: digits"):
        client.families("letters")


def test_explain(client: Client) -> None:
    story = client.explain()
    assert story.request_id == "r1"
    assert [entry.kind for entry in story.entries] == ["RequestArrived", "Finish"]
    assert story.entries[0].fields["request"]["task"] == "digits"
    assert story.verdicts[0][0].why is Why.DEADLINE
    assert sum(part.utility for part in story.verdicts[0][0].parts) == pytest.approx(-0.1)
    assert story.grounds == (GROUNDS,)
    assert client.explain("r1") == story
    with pytest.raises(TrimtabError, match="no record of request 'r9'") as caught:
        client.explain("r9")
    assert caught.value.code == "NOT_FOUND"


def test_policies(client: Client) -> None:
    assert client.get_policy() == "name: loopback\n"
    assert client.validate_policy("name: other") == ()
    problems = client.validate_policy("oops")
    assert (problems[0].line, problems[0].column, problems[0].path) == (1, 2, "name")
    with pytest.raises(TrimtabError, match="name: is missing") as caught:
        client.set_policy("oops")
    assert caught.value.problems == problems
    assert client.set_policy("name: night") == "night"
    assert client.get_policy() == "name: night"


def test_watch_sees_what_ends_from_now_on(client: Client, served: Any, image: Any) -> None:
    client.infer("digits", image, app="before")
    with client.watch() as everything, client.watch(app="cam*") as camera:
        client.infer("digits", image, app="mail", min_accuracy=0.99)
        client.infer("digits", image, app="camera")
        first, second = next(everything), next(everything)
        assert (first.app, second.app, next(camera).app) == ("mail", "camera", "camera")
    assert first.result.given_up == (Goal.ACCURACY,)
    assert first.decision is not None
    assert first.decision.instead_why is Why.DEADLINE
    assert list(camera) == []


def test_watch_ends_when_the_server_stops(client: Client, served: Any) -> None:
    watch = client.watch()
    served.do(served.server.stop())
    assert list(watch) == []
    assert served.engine.watchers == []


@pytest.mark.parametrize(("kind", "message"), [(Status, pb.Status), (Record, pb.Record)])
def test_every_field_has_its_place_on_the_wire(kind: Any, message: Any) -> None:
    _compare(kind, message.DESCRIPTOR)


def test_every_field_of_a_family_has_its_place(served: Any) -> None:
    _compare_value(served.engine.family, pb.Family.DESCRIPTOR)


def _compare(kind: Any, descriptor: Any) -> None:
    missing = {field.name for field in fields(kind)} - set(descriptor.fields_by_name)
    assert not missing, f"{descriptor.full_name} lacks {missing}"


def _compare_value(value: Any, descriptor: Any) -> None:
    _compare(type(value), descriptor)
    for field in fields(value):
        content = getattr(value, field.name)
        inner = content[0] if isinstance(content, tuple) and content else content
        if is_dataclass(inner):
            _compare_value(inner, descriptor.fields_by_name[field.name].message_type)


def test_a_record_without_decision_or_battery_round_trips(served: Any) -> None:
    status = served.engine.status()
    _compare_value(status, pb.Status.DESCRIPTOR)
    bare = replace(status, device=type(status.device)())
    assert control.status_from_wire(control.status_to_wire(bare)) == bare


def test_an_empty_story_is_a_story() -> None:
    assert control.story_from_wire(control.story_to_wire(Story("r", (), ()))).verdicts == ()


def test_both_clients_can_be_imported_first() -> None:
    for order in ("trimtab.client, tritonclient.grpc", "tritonclient.grpc, trimtab.client"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-W", "error", "-c", f"import {order}"], check=True, env=environment)
