from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.adapters.processors import discover_processors
from trimtab.domain.processor import Processor

NOWHERE = Path("/nonexistent")
Write = Callable[[str, str], Path]


def names(found: tuple[Processor, ...]) -> list[str]:
    return [processor.name for processor in found]


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ([0], ["cpu:0"]),
        ([0, 1], ["cpu:0", "cpu:1", "cpu:0-1"]),
        ([0, 1, 2], ["cpu:0", "cpu:1", "cpu:2", "cpu:0-2"]),
        ([0, 1, 2, 3], ["cpu:0", "cpu:1", "cpu:2", "cpu:3", "cpu:0-1", "cpu:2-3", "cpu:0-3"]),
        ([3, 7], ["cpu:3", "cpu:7", "cpu:3,7"]),
        (
            range(64),
            ["cpu:0", "cpu:1", "cpu:2", "cpu:3", "cpu:4", "cpu:0-3", "cpu:4-7", "cpu:0-7"],
        ),
    ],
)
def test_equal_cores(cores: list[int], expected: list[str]) -> None:
    found = discover_processors(NOWHERE, affinity=cores, providers=[])
    assert names(found) == expected
    assert all(p.threads == len(p.cores) for p in found)
    assert len({p.cores for p in found}) == len(found)


@pytest.mark.parametrize(("quota", "most"), [(0.5, 1), (1.0, 1), (2.0, 2), (2.9, 2), (1.999, 2), (16.0, 4)])
def test_a_quota_leaves_fewer(quota: float, most: int) -> None:
    found = discover_processors(NOWHERE, affinity=range(4), cpu_quota=quota, providers=[])
    assert len({core for p in found for core in p.cores}) == most


def capacities(write: Write, values: dict[int, int]) -> Path:
    for core, value in values.items():
        root = write(f"sys/devices/system/cpu/cpu{core}/cpu_capacity", f"{value}\n")
    return root.parents[4]


def test_big_and_little(write: Write) -> None:
    sysfs = capacities(write, {0: 400, 1: 400, 2: 400, 3: 400, 4: 1024, 5: 1024})
    found = discover_processors(sysfs, affinity=range(6), providers=[])
    assert names(found) == [
        "cpu-big:4",
        "cpu-big:5",
        "cpu-little:0",
        "cpu-little:1",
        "cpu-little:2",
        "cpu-big:4-5",
        "cpu-little:0-3",
    ]
    assert {p.pool for p in found} == {"onnxruntime/cpu/1", "onnxruntime/cpu/2:4-5", "onnxruntime/cpu/4:0-3"}
    fast = discover_processors(sysfs, affinity=range(6), cpu_quota=2.0, providers=[])
    assert {core for p in fast for core in p.cores} == {4, 5}


def test_three_clusters_and_measured_capacities(write: Write) -> None:
    sysfs = capacities(write, {0: 300, 1: 300, 2: 700, 3: 1024})
    found = discover_processors(sysfs, affinity=range(4), providers=[])
    assert {p.name.partition(":")[0] for p in found} == {"cpu-big", "cpu-mid", "cpu-little"}
    sysfs = capacities(write, {0: 300, 1: 310, 2: 990, 3: 1000})
    found = discover_processors(sysfs, affinity=range(4), providers=[])
    assert {p.name: p.cores for p in found if p.threads == 2} == {
        "cpu-big:2-3": (2, 3),
        "cpu-little:0-1": (0, 1),
    }


def test_efficiency_cores_without_capacities(write: Write) -> None:
    sysfs = write("sys/devices/cpu_atom/cpus", "2-3\n").parents[2]
    found = discover_processors(sysfs, affinity=range(4), providers=[])
    assert "cpu-big:0-1" in names(found)
    assert "cpu-little:2-3" in names(found)


def test_one_thread_per_physical_core(write: Write) -> None:
    for core in range(4):
        path = f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
        sysfs = write(path, f"{core % 2},{core % 2 + 2}\n").parents[5]
    found = discover_processors(sysfs, affinity=range(4), providers=[])
    assert names(found) == ["cpu:0", "cpu:1", "cpu:0-1"]
    assert names(discover_processors(sysfs, affinity=[2], providers=[])) == ["cpu:2"]


def test_other_providers() -> None:
    offered = [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "QNNExecutionProvider",
        "OpenVINOExecutionProvider",
        "AzureExecutionProvider",
        "CPUExecutionProvider",
    ]
    found = discover_processors(NOWHERE, affinity=[0, 1], providers=offered)[3:]
    assert names(found) == ["gpu:cuda", "npu:qnn", "openvino:cpu"]
    assert [p.cores for p in found] == [(), (), (0, 1)]
    assert len({p.pool for p in found}) == 3


def test_this_machine() -> None:
    found = discover_processors()
    assert found
    assert found[0].threads == 1
    assert all("Azure" not in p.provider for p in found)


def test_providers_that_run_on_the_cores_own_them() -> None:
    offered = [
        "XnnpackExecutionProvider",
        "OpenVINOExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    found = {p.name: p for p in discover_processors(NOWHERE, affinity=[0, 1], providers=offered)}
    for name in ("xnnpack:cpu", "openvino:cpu"):
        assert (found[name].cores, found[name].threads) == ((0, 1), 2)
    assert found["gpu:cuda"].cores == ()
    assert len({p.pool for p in found.values()}) == len(found) - 1, (
        "only the two single cores share what is loaded"
    )
