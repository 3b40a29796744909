from typing import TYPE_CHECKING

import pytest

from trimtab_sim.catalogue import CatalogueError, Model, Setup, load_catalogue, load_latencies

if TYPE_CHECKING:
    from .conftest import Write

HEADER = "device,class,unit,threads,powersave,gpu_device,loops,model,precision,min_ms,max_ms,avg_ms"
ROWS = """\
"Board (A76 x 4, A55 x 4)",board,cpu_big,4,2,-1,8,mobilenet_v2,fp,9.90,12.10,10.52
"Board (A76 x 4, A55 x 4)",board,cpu_little,1,1,-1,8,mobilenet_v2,fp,30,31,30.5
"Board (A76 x 4, A55 x 4)",board,gpu_vulkan,4,0,0,8,mobilenet_v2,fp,20,22,21
"Board (A76 x 4, A55 x 4)",board,cpu_big,4,2,-1,8,squeezenet-int8,fp,4,5,4.5
"Board (A76 x 4, A55 x 4)",board,cpu_big,4,2,-1,8,resnet18,fp,0,0,0
"Board (A76 x 4, A55 x 4)",board,cpu_big,4,2,-1,8,mobilenet_v2,fp,8,9,8.5
"""


def test_rows_of_a_device_become_a_family(write: "Write") -> None:
    catalogue = load_catalogue(write("bench.csv", f"{HEADER}\n{ROWS}"))
    (family,) = catalogue.families
    assert [one.name for one in family.variants] == ["mobilenet_v2-fp"]
    assert family.variants[0].accuracy_frac == 0.718
    assert [one.name for one in catalogue.processors] == ["cpu-little:0", "cpu-big:4-7", "gpu"]
    by_processor = {one.processor: one for one in catalogue.profiles["imagenet"]}
    assert by_processor["cpu-big:4-7"].stage_latency_ns == (10_520_000,)
    assert by_processor["cpu-big:4-7"].latency_spread == pytest.approx(0.0502, abs=1e-4)
    assert by_processor["gpu"].resident_bytes == 3_470_000 * 4
    told = {one.line: one.message for one in catalogue.reported}
    assert told == {
        5: "no accuracy is known of squeezenet int8; the row is left out",
        6: "is 0; the row is left out",
        7: "another figure of line 2's network; the first is taken",
    }


def test_accuracies_may_be_ones_own(write: "Write") -> None:
    path = write("bench.csv", f"{HEADER}\n{ROWS}")
    header = "task,model,precision,accuracy_pct,params_m,source"
    write("own.csv", f"{header}\nthings,squeezenet,int8,55.5,1.24,mine\n")
    catalogue = load_catalogue(path, accuracy="own.csv")
    assert catalogue.families[0].variants[0].name == "squeezenet-int8"
    assert catalogue.families[0].variants[0].artefact_bytes == 1_240_000
    write("own.csv", f"{header}\nthings,squeezenet,int8,155.5,1.24,mine\n")
    with pytest.raises(CatalogueError, match=r"own.csv:2: accuracy_pct: is above 100 %"):
        load_catalogue(path, accuracy="own.csv")


def test_a_devices_profile_gives_the_cores(write: "Write") -> None:
    path = write("bench.csv", f"{HEADER}\n{ROWS}")
    catalogue = load_catalogue(path, device="Board", device_profile="oriole")
    assert [one.name for one in catalogue.processors] == ["cpu-little:0", "cpu:4-7", "gpu"]


def test_latencies_alone_need_no_accuracy(write: "Write") -> None:
    table = load_latencies(write("bench.csv", f"{HEADER}\n{ROWS}"))
    assert [row.model for row in table.rows] == [Model("mobilenet_v2", "fp")] * 3 + [
        Model("squeezenet", "int8")
    ]
    assert table.rows[0].setup == Setup("Board (A76 x 4, A55 x 4)", "CPU", "cpu-big x4", "ncnn")
    assert table.rows[2].setup.unit == "GPU"


def test_a_wrong_cell_is_told(write: "Write") -> None:
    with pytest.raises(CatalogueError, match=r"bench.csv:3: avg_ms: 'slow' is not a number"):
        load_catalogue(write("bench.csv", f"{HEADER}\n{ROWS.replace('30.5', 'slow')}"))


def test_an_unknown_unit_is_reported_and_left_out(write: "Write") -> None:
    table = load_latencies(write("bench.csv", f"{HEADER}\n{ROWS.replace('cpu_big,4', 'cpu_huge,4', 1)}"))
    assert [row.line for row in table.rows] == [3, 4, 5, 7]
    assert [(one.line, one.column) for one in table.reported] == [(2, "unit"), (6, "avg_ms")]
