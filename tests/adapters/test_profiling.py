import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab import profiling
from trimtab.adapters.energy import PowerModel
from trimtab.adapters.onnx_runtime import OnnxRuntime
from trimtab.adapters.profile_store import ProfileStore, profile_key
from trimtab.domain.family import ProfileSet, TensorSpec
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab.ports import StoredFamily
from trimtab.profiling import ProfilingError, describe_machine, latency_spread, profile_family
from trimtab.testing import FakeMeter, FakeRuntime, tiny_processors

PROCESSORS = tiny_processors()


def test_a_real_family(stored: StoredFamily) -> None:
    runtime, told = OnnxRuntime(), []
    begin = time.monotonic()
    measured = profile_family(
        stored,
        PROCESSORS,
        {"onnxruntime": runtime},
        PowerModel(),
        budget_s=0.4,
        progress=lambda done, what: told.append((done, what)),
    )
    assert time.monotonic() - begin < 5
    assert [(p.variant, p.processor) for p in measured.profiles] == [
        (v.name, p.name) for p in PROCESSORS for v in stored.family.variants
    ]
    for profile in measured.profiles:
        variant = stored.family.variant(profile.variant)
        assert len(profile.stage_latency_ns) == len(profile.stage_energy_uj) == len(variant.stages)
        assert all(ns > 0 for ns in profile.stage_latency_ns)
        assert profile.latency_ns_p95 >= sum(profile.stage_latency_ns) // 2
        assert profile.latency_spread >= profiling.MIN_SPREAD
        assert profile.load_ns > 0
        assert profile.resident_bytes >= variant.artefact_bytes
        assert profile.load_energy_uj > 0
        assert (profile.latency_source, profile.energy_source) == (Source.MEASURED, Source.ASSUMED)
    assert measured.machine.runtime == runtime.description
    assert measured.machine.cores >= 1
    fractions = [done for done, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1] == (1.0, "done")
    with pytest.raises(Exception, match="not loaded"):
        runtime.run("tiny", "large", PROCESSORS[0], 0, {})


def test_stage_times_are_kept_apart(stored: StoredFamily) -> None:
    runtime = FakeRuntime()
    runtime.latency_ns = {("staged", 0): 1_000_000, ("staged", 1): 4_000_000}
    measured = profile_family(stored, PROCESSORS[:1], {"onnxruntime": runtime}, FakeMeter(), budget_s=0.1)
    (staged,) = [p for p in measured.profiles if p.variant == "staged"]
    first, second = staged.stage_latency_ns
    assert 1_000_000 <= first < second
    assert second >= 4_000_000
    assert staged.stage_energy_uj == pytest.approx((first / 1e3, second / 1e3))


def test_what_does_not_run_gets_no_profile(stored: StoredFamily, caplog: pytest.LogCaptureFixture) -> None:
    runtime = FakeRuntime()
    runtime.load_failures["large"] = "cannot load it"
    runtime.run_failures["small"] = "cannot run it"
    gpu = Processor("gpu:x", "gpu", (), 1, runtime="other")
    with caplog.at_level(logging.WARNING):
        measured = profile_family(
            stored, [*PROCESSORS, gpu], {"onnxruntime": runtime}, FakeMeter(), budget_s=0.01
        )
    assert {p.variant for p in measured.profiles} == {"staged"}
    assert {p.processor for p in measured.profiles} == {p.name for p in PROCESSORS}
    assert "cannot load it" in caplog.text
    assert "small@cpu:1 gets no profile: cannot run it" in caplog.text
    assert runtime.loaded == frozenset()


def test_nothing_runs(stored: StoredFamily) -> None:
    with pytest.raises(ProfilingError, match="tiny"):
        profile_family(stored, PROCESSORS, {}, FakeMeter(), budget_s=0.01)


def test_without_samples(stored: StoredFamily) -> None:
    (stored.folder / "samples.npz").unlink()
    inputs = (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("n", "INT64", (2,)))
    odd = StoredFamily(replace(stored.family, inputs=inputs), stored.folder)
    measured = profile_family(odd, PROCESSORS[:1], {"onnxruntime": OnnxRuntime()}, FakeMeter(), budget_s=0.01)
    assert len(measured.profiles) == 3


@pytest.mark.parametrize(
    "spec", [TensorSpec("audio", "FP32", (-1, 8000)), TensorSpec("window", "FP32", (-1, 6, 128))]
)
def test_noise_has_the_shape_of_one_input(stored: StoredFamily, spec: TensorSpec) -> None:
    (stored.folder / "samples.npz").unlink()
    inputs = profiling._inputs(StoredFamily(replace(stored.family, inputs=(spec,)), stored.folder))
    assert inputs[spec.name].shape == (1, *spec.shape[1:])
    assert inputs[spec.name].dtype == np.float32
    assert inputs[spec.name].std() > 0.1


def test_a_meter_that_calibrates_is_given_the_heaviest_work(stored: StoredFamily) -> None:
    class Learning(FakeMeter):
        seen: dict[str, int]

        def calibrate(self, processor: Processor, work: object) -> float | None:
            assert callable(work)
            before = len(runtime.calls)
            work()
            self.seen[processor.name] = len(runtime.calls) - before
            assert all(call[2] == "large" for call in runtime.calls[before:])
            return None

    runtime, meter = FakeRuntime(), Learning()
    meter.seen = {}
    profile_family(stored, PROCESSORS, {"onnxruntime": runtime}, meter, budget_s=0.01)
    assert meter.seen == {p.name: 1 for p in PROCESSORS}


def test_spread() -> None:
    rng = np.random.default_rng(0)
    normal = np.exp(rng.normal(13, 0.2, 20_000))
    assert latency_spread(normal) == pytest.approx(0.2, rel=0.05)
    assert latency_spread(np.full(10, 5e5)) == profiling.MIN_SPREAD
    tailed = np.concatenate([np.full(90, 1e5), np.full(10, 1e6)])
    assert latency_spread(tailed) == pytest.approx(np.log(10) / 1.645)


def test_machine(tmp_path: Path) -> None:
    machine = describe_machine("r", FakeMeter())
    assert machine.cpu
    assert (machine.runtime, machine.power_model) == ("r", FakeMeter().description)
    info = tmp_path / "cpuinfo"
    info.write_text("processor: 0\nHardware\t: Some SoC\n")
    assert profiling._cpu_name(info) == "Some SoC"
    assert profiling._cpu_name(tmp_path / "none")


@pytest.fixture
def measured(stored: StoredFamily) -> ProfileSet:
    return profile_family(stored, PROCESSORS, {"onnxruntime": FakeRuntime()}, FakeMeter(), budget_s=0.01)


def test_profiles_are_kept(stored: StoredFamily, measured: ProfileSet, tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles")
    machine = measured.machine
    assert store.load(stored.family, PROCESSORS, machine) is None
    path = store.save(stored.family, PROCESSORS, measured)
    assert store.load(stored.family, PROCESSORS, machine) == measured
    assert store.load(stored.family, PROCESSORS, replace(machine, memory_bytes=1)) == measured
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("field", ["cpu", "cores", "system", "runtime", "power_model"])
def test_another_machine_is_measured_again(
    stored: StoredFamily, measured: ProfileSet, tmp_path: Path, field: str
) -> None:
    store = ProfileStore(tmp_path)
    store.save(stored.family, PROCESSORS, measured)
    change: dict[str, Any] = {field: 99 if field == "cores" else "another"}
    other = replace(measured.machine, **change)
    assert store.load(stored.family, PROCESSORS, other) is None


def test_another_family_or_other_processors_are_measured_again(
    stored: StoredFamily, measured: ProfileSet, tmp_path: Path
) -> None:
    store = ProfileStore(tmp_path)
    store.save(stored.family, PROCESSORS, measured)
    assert store.load(stored.family, PROCESSORS[:2], measured.machine) is None
    first = stored.family.variants[0]
    rebuilt = replace(first, stages=(replace(first.stages[0], sha256="1" * 64),))
    family = replace(stored.family, variants=(rebuilt, *stored.family.variants[1:]))
    assert store.load(family, PROCESSORS, measured.machine) is None
    assert len(profile_key(family, PROCESSORS, measured.machine)) == 64


def test_a_corrupt_file_is_told_and_measured_again(
    stored: StoredFamily, measured: ProfileSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ProfileStore(tmp_path)
    path = store.save(stored.family, PROCESSORS, measured)
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING):
        assert store.load(stored.family, PROCESSORS, measured.machine) is None
    assert str(path) in caplog.text


def test_a_save_that_fails_leaves_nothing(stored: StoredFamily, measured: ProfileSet, tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.path("tiny").mkdir()
    with pytest.raises(OSError, match="tiny"):
        store.save(stored.family, PROCESSORS, measured)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == []
