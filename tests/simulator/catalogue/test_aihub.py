"""Rows are those of quic/ai-hub-models (BSD-3-Clause), a few of them and shortened."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab.domain.quantities import Source
from trimtab_sim.catalogue import CatalogueError, Model, load_catalogue, load_latencies

if TYPE_CHECKING:
    from .conftest import Write

PERF = """\
release,model,component,precision,device,form_factor,chipset,runtime,unit,latency_ms,mem_min_mb,mem_max_mb,layers_total
v0.46.1,resnet18,ResNet18,float,Phone A,Phone,a,tflite,NPU,1.5,0,24,53
v0.46.1,resnet18,ResNet18,float,Phone A,Phone,a,qnn_dlc,NPU,1.25,0,0,53
v0.46.1,resnet18,ResNet18,w8a8,Phone A,Phone,a,tflite,NPU,0.4,0,20,53
v0.46.1,resnet18,ResNet18,w8a8,Phone A,Phone,a,onnx,CPU,11,0,30,53
v0.46.1,resnet18,ResNet18,float,Phone B,Phone,b,tflite,NPU,3,0,24,53
v0.46.1,resnet18,ResNet18,float,Phone B,Phone,b,tflite,GPU,9,0,24,53
v0.46.1,resnet18,ResNet18,w8a8,Phone B,Phone,b,tflite,NPU,0.9,0,24,53
v0.33.0,resnet18_quantized,ResNet18Quantized,int8,Phone A,Phone,a,tflite,NPU,0.5,0,20,53
v0.33.0,resnet18,ResNet18,float,Phone A,Phone,a,tflite,NPU,99,0,24,53
v0.46.1,whisper,Encoder,float,Phone A,Phone,a,tflite,NPU,80,0,24,53
v0.46.1,whisper,Decoder,float,Phone A,Phone,a,tflite,NPU,5,0,24,53
v0.46.1,superres,SuperRes,float,Phone A,Phone,a,tflite,NPU,7,0,24,53
v0.46.1,broken,Broken,float,Phone A,Phone,a,tflite,NPU,,0,24,53
"""
MODELS = """\
model,name,params,sizes
resnet18,ResNet18,11.7M,Model size (float)=44.6 MB; Model size (w8a8)=11.3 MB
"""
ACCURACY = """\
model,dataset,metric,unit,samples,torch_fp32,device,precision,runtime,on_device
resnet18,imagenet,Classification Accuracy,%,1000,69.5,Phone S,float,tflite,69.3
resnet18,imagenet,Classification Accuracy,%,1000,69.5,Phone S,float,qnn_dlc,69.2
resnet18,imagenet,Classification Accuracy,%,1000,69.5,Phone S,w8a8,tflite,68.9
superres,bsd300,Peak Signal-to-Noise Ratio (PSNR),dB,100,30,Phone S,float,tflite,29.1
albert,wiki,Top-1,%,250,0.0,Phone S,float,tflite,0.0
"""


@pytest.fixture
def perf(write: "Write") -> Path:
    write("aihub_models.csv", MODELS)
    write("aihub_accuracy.csv", ACCURACY)
    return write("aihub_perf.csv", PERF)


def test_each_network_uses_its_fastest_runtime(perf: Path) -> None:
    catalogue = load_catalogue(perf, device="Phone A")
    (family,) = catalogue.families
    told = {one.variant: one for one in catalogue.profiles["imagenet"]}
    assert {name: one.stage_latency_ns for name, one in told.items()} == {
        "resnet18-w8a8": (400_000,),
        "resnet18-float": (1_250_000,),
    }
    assert family.variant("resnet18-float").accuracy_frac == 0.692
    assert family.variant("resnet18-float").artefact_bytes == round(44.6 * 2**20)
    assert family.variant("resnet18-w8a8").parameters == 11_700_000
    assert (told["resnet18-w8a8"].resident_bytes, told["resnet18-w8a8"].memory_source) == (
        20 << 20,
        Source.PUBLISHED,
    )
    assert told["resnet18-float"].memory_source is Source.ASSUMED
    assert family.dataset.licence == "BSD-3-Clause"


def test_one_runtime_or_all_can_be_asked_for(perf: Path) -> None:
    one = load_catalogue(perf, device="Phone A", runtime="tflite")
    assert {p.variant: p.stage_latency_ns[0] for p in one.profiles["imagenet"]} == {
        "resnet18-w8a8": 400_000,
        "resnet18-float": 1_500_000,
    }
    both = load_catalogue(perf, device="Phone A", runtime="all")
    names = {variant.name for variant in both.families[0].variants}
    assert names == {"resnet18-float-tflite", "resnet18-float-qnn_dlc", "resnet18-w8a8-tflite"}


def test_every_row_left_out_is_reported(perf: Path) -> None:
    catalogue = load_catalogue(perf, device="Phone A")
    told = {(Path(one.file).name, one.line): one.message for one in catalogue.reported}
    assert told["aihub_perf.csv", 2] == "qnn_dlc is faster for resnet18-float; left out"
    assert "no accuracy is known of resnet18 w8a8" in told["aihub_perf.csv", 5]
    assert "no accuracy is known of resnet18 int8" in told["aihub_perf.csv", 9]
    assert told["aihub_perf.csv", 10] == "another figure of line 2's network; the first is taken"
    assert "no accuracy is known of whisper/Encoder float" in told["aihub_perf.csv", 11]
    assert "no accuracy is known of superres float" in told["aihub_perf.csv", 13]
    assert told["aihub_perf.csv", 14] == "is empty or 0; the row is left out"
    assert "is no share of one" in told["aihub_accuracy.csv", 5]
    assert told["aihub_accuracy.csv", 6] == "is empty or 0; the row is left out"
    rows = [line for line in range(2, 15) if line not in (6, 7, 8)]
    assert len([line for line in rows if ("aihub_perf.csv", line) in told]) + 2 == len(rows)


def test_old_releases_spell_quantised_networks_as_models(perf: Path) -> None:
    table = load_latencies(perf)
    assert {row.model for row in table.rows if row.line == 9} == {Model("resnet18", "int8")}
    assert {row.model.name for row in table.rows} == {
        "resnet18",
        "whisper/Encoder",
        "whisper/Decoder",
        "superres",
    }


def test_gaps_are_filled_where_the_runtime_exists(perf: Path) -> None:
    filled = load_catalogue(perf, device="Phone B", fill=True)
    pairs = {(one.variant, one.processor): one for one in filled.profiles["imagenet"]}
    assert set(pairs) == {("resnet18-float", "npu"), ("resnet18-float", "gpu"), ("resnet18-w8a8", "npu")}
    assert {one.latency_source for one in pairs.values()} == {Source.PUBLISHED}
    with pytest.raises(CatalogueError, match=r"no row can be used"):
        load_catalogue(perf, device="Phone B", runtime="qnn_dlc")


def test_a_missing_companion_file_is_told(perf: Path) -> None:
    with pytest.raises(CatalogueError, match=r"sizes.csv: cannot be read"):
        load_catalogue(perf, device="Phone A", models="sizes.csv")


def test_wrong_cells_are_told(write: "Write", perf: Path) -> None:
    write("aihub_accuracy.csv", ACCURACY.replace("69.3", "693"))
    with pytest.raises(CatalogueError, match=r"aihub_accuracy.csv:2: on_device: is above 100 %"):
        load_catalogue(perf, device="Phone A")


def test_what_nobody_knows_is_reported_and_left_out(write: "Write", perf: Path) -> None:
    write("aihub_perf.csv", PERF.replace("NPU,1.5", "TPU,1.5"))
    write("aihub_models.csv", MODELS.replace("11.7M", "some"))
    catalogue = load_catalogue(perf, device="Phone A")
    told = [str(one) for one in catalogue.reported]
    assert any(
        one.endswith("aihub_perf.csv:2: unit: 'TPU' is not one of CPU, GPU, NPU; the row is left out")
        for one in told
    )
    assert any("aihub_models.csv:2: params: 'some' is not a number with K, M, G or B" in one for one in told)
    assert catalogue.families[0].variant("resnet18-w8a8").parameters == 0
