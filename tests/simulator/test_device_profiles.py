"""Shipped device profiles are whole, tagged and plausible; broken ones are refused with file, line and field."""

import csv
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import make_devices
from device_sources.boards import BOARDS
from device_sources.figures import assumed, published, rounded, to_yaml
from trimtab.domain.quantities import Source
from trimtab.policy.errors import spell
from trimtab_sim.device import profile as model
from trimtab_sim.device.identify import identify_cell
from trimtab_sim.device.profile import SEVERITIES, DeviceProfile
from trimtab_sim.device.profile_load import (
    SCHEMA_FILE,
    DeviceError,
    device_schema,
    load_device,
    parse_device,
    shipped_devices,
    shipped_devices_folder,
)
from trimtab_sim.traces.load import load_series

FOLDER = shipped_devices_folder()
NAMES = shipped_devices()
TAGS = {source.value for source in Source}
device = cache(load_device)
PHONES = [name for name in NAMES if "kind: phone" in (FOLDER / f"{name}.yaml").read_text()]
needs_data = pytest.mark.skipif("TRIMTAB_DATA" not in os.environ, reason="TRIMTAB_DATA is not set")


@cache
def tree(name: str) -> dict[str, Any]:
    """Return a shipped file as PyYAML reads it."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return loaded


def numbers(part: object, path: str = "", tagged: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the path of every number and whether a tag stands above it."""
    if isinstance(part, dict):
        is_figure = "from" in part and len(TAGS & part.keys()) == 1
        for key, inner in part.items():
            yield from numbers(inner, f"{path}.{key}", tagged or (is_figure and key in TAGS))
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from numbers(inner, f"{path}[{index}]", tagged)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield path, tagged


def fields_with_numbers(part: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """Yield the path of every field of a profile that holds a number or numbers."""
    for one in dataclasses.fields(part):
        value, here = getattr(part, one.name), (*path, one.name)
        if one.name in ("processors", "origins", "references", "notes"):
            continue
        if dataclasses.is_dataclass(value):
            yield from fields_with_numbers(value, here)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for index, item in enumerate(value):
                yield from fields_with_numbers(item, (*here, index))
        elif (isinstance(value, int | float) and not isinstance(value, bool)) or (
            isinstance(value, tuple) and value and isinstance(value[0], int | float)
        ):
            yield spell(here)


def test_there_are_at_least_sixteen_phones_and_four_boards() -> None:
    kinds = [device(name).kind for name in NAMES]
    assert kinds.count("phone") >= 16
    assert kinds.count("board") >= 4


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_untagged(name: str) -> None:
    found = list(numbers(tree(name)))
    assert len(found) > 40
    assert [path for path, tagged in found if not tagged] == [".version"]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_profile_has_an_origin_that_is_explained(name: str) -> None:
    profile = device(name)
    absent = {"radio.mobile_on_ma", "radio.mobile_active_ma", "radio.mobile_scan_ma", "radio.gps_ma"}
    for path in fields_with_numbers(profile):
        if profile.kind == "board" and path in absent:
            continue
        assert len(profile.references[profile.origins[path].reference]) > 5, path


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_called_as_its_device_and_names_its_schema(name: str) -> None:
    assert device(name).name == name
    head = (FOLDER / f"{name}.yaml").read_text().splitlines()[0]
    assert head == f"# yaml-language-server: $schema=./{SCHEMA_FILE}"


def test_an_untagged_number_is_what_the_walk_finds() -> None:
    broken = {"version": 1, "battery": {"capacity_mah": 3000, "cutoff_mv": {"assumed": 3300, "from": "x"}}}
    assert [path for path, tagged in numbers(broken) if not tagged] == [".version", ".battery.capacity_mah"]


# Plausible figures


@pytest.mark.parametrize("name", PHONES)
def test_a_phones_battery_and_drains_are_those_of_a_phone(name: str) -> None:
    profile = device(name)
    assert profile.battery is not None
    assert profile.screen is not None
    assert 2000 <= profile.battery.capacity_mah <= 6000
    assert profile.battery.capacity_j == pytest.approx(
        profile.battery.capacity_mah * profile.battery.health_frac * 3.85 * 3.6
    )
    days_asleep = profile.battery.capacity_mah / profile.cpu.suspend_ma / 24
    assert 10 < days_asleep < 60
    assert 30 < profile.screen.on_ma < profile.screen.on_ma + profile.screen.full_ma < 800
    assert 0 <= profile.radio.wifi_on_ma < profile.radio.wifi_active_ma
    assert 1024 <= profile.memory.total_mib <= 16384


@pytest.mark.parametrize("name", NAMES)
def test_cores_draw_what_cores_draw(name: str) -> None:
    cpu = device(name).cpu
    for cluster in cpu.clusters:
        top_mw = cluster.core_ma[-1] * cpu.voltage_mv / 1000
        assert 50 < top_mw < 6000, cluster.name
        assert cluster.khz == tuple(sorted(cluster.khz))
        assert 1_000_000 <= cluster.khz[-1] <= 3_500_000
    all_mw = sum(c.core_ma[-1] * len(c.cores) for c in cpu.clusters) * cpu.voltage_mv / 1000
    assert 1000 < all_mw < 30_000


@pytest.mark.parametrize("name", NAMES)
def test_an_accelerator_gets_hungrier_with_its_clock(name: str) -> None:
    for accelerator in (device(name).gpu, device(name).npu):
        if accelerator is not None:
            assert accelerator.power_mw == tuple(sorted(accelerator.power_mw))
            assert accelerator.idle_mw < accelerator.power_mw[0]
            assert 300 <= accelerator.power_mw[-1] <= 8000


@pytest.mark.parametrize("name", PHONES)
def test_two_watts_warm_a_phone_but_do_not_throttle_its_chip_at_once(name: str) -> None:
    thermal = device(name).thermal
    to_air = next(link.w_per_c for link in thermal.links if "ambient" in link.ends)
    skin_c = thermal.ambient_c + 2.0 / to_air
    assert 31 < skin_c < 42
    capacity = sum(node.j_per_c for node in thermal.nodes)
    assert 100 < capacity < 300
    assert 5 * 60 < capacity / to_air < 30 * 60


@pytest.mark.parametrize("name", NAMES)
def test_thresholds_rise_and_caps_are_clocks_of_their_target(name: str) -> None:
    profile = device(name)
    for sensor in profile.thermal.sensors:
        reached = [hot for hot in sensor.hot_c if hot < math.inf]
        assert reached == sorted(reached)
        assert len(sensor.hot_c) == len(SEVERITIES)
    clocks: dict[str, tuple[float, ...]] = {c.name: c.khz for c in profile.cpu.clusters}
    clocks |= {key: one.khz for key, one in (("gpu", profile.gpu), ("npu", profile.npu)) if one}
    for throttle in profile.thermal.throttles:
        allowed = (0,) if throttle.target == "device" else (0, *clocks[throttle.target])
        assert throttle.max_khz in allowed, throttle
        assert throttle.clear_c <= throttle.set_c
    for budget in profile.thermal.budgets:
        assert all(share.floor_khz in clocks[share.target] for share in budget.shares)
        assert budget.engage_c <= budget.target_c
    assert {throttle.target for throttle in profile.thermal.throttles} >= set(clocks)


@pytest.mark.parametrize("name", NAMES)
def test_processors_are_cores_of_one_cluster_or_an_accelerator_described(name: str) -> None:
    profile = device(name)
    for processor in profile.processors:
        cluster, accelerator = profile.cluster_of(processor), profile.accelerator_of(processor)
        assert (cluster is None) != (accelerator is None), processor
        if cluster is not None:
            assert processor.threads == len(processor.cores)
        assert profile.processor(processor.name) is processor
    assert {one.kind for one in profile.processors} >= {"cpu"}
    assert len({one.pool for one in profile.processors}) > 1


# What is odd about the published figures is told, and treated as the notes say


def test_old_power_profiles_keep_their_steps_and_the_loader_takes_the_shared_part_off() -> None:
    old = [name for name in PHONES if device(name).cpu.whole_cpu_steps]
    assert {"angler", "harpia", "wt88047", "enchilada", "hotdogb", "starlte", "beyond1lte", "a52q"} == set(
        old
    )
    for name in old:
        cpu, written = device(name).cpu, tree(name)["cpu"]
        assert any("whole CPU" in note for note in device(name).notes)
        for cluster, raw in zip(cpu.clusters, written["clusters"], strict=True):
            one_busy_ma = [cpu.active_ma + cluster.cluster_ma + ma for ma in cluster.core_ma]
            assert one_busy_ma == pytest.approx(raw["core_ma"]["published"])


def test_the_split_of_old_profiles_fits_the_new_profile_of_the_same_chip() -> None:
    """OnePlus 6 (old) and Pixel 3 (new) have a Snapdragon 845: one busy little core at the least clock."""
    old, new = device("enchilada").cpu, device("blueline").cpu
    assert old.clusters[0].khz[0] == new.clusters[0].khz[0]
    shared_ma = new.active_ma + new.clusters[0].cluster_ma
    assert old.active_ma == pytest.approx(shared_ma, rel=0.12)
    assert old.clusters[0].core_ma[0] == pytest.approx(new.clusters[0].core_ma[0], rel=0.05)


def test_missing_fields_of_harpia_and_the_pixel_8_come_from_their_specification() -> None:
    harpia, shiba = device("harpia"), device("shiba")
    assert len(harpia.cpu.clusters) == 1
    assert harpia.origins["cpu.clusters[0].cores"].reference == "specification"
    assert any("number of cores" in note for note in harpia.notes)
    assert shiba.battery is not None
    assert shiba.battery.capacity_mah == 4575
    assert shiba.origins["battery.capacity_mah"].reference == "specification"
    assert any("no battery capacity" in note for note in shiba.notes)


def test_the_pixel_5s_small_cores_draw_more_than_its_big_ones_as_published() -> None:
    redfin = device("redfin")
    assert redfin.cpu.clusters[0].core_ma[-1] > redfin.cpu.clusters[2].core_ma[-1]
    assert redfin.origins["cpu.clusters[0].core_ma"].source is Source.PUBLISHED
    assert any("small core" in note for note in redfin.notes)


def test_a_published_zero_is_not_taken_for_a_measurement() -> None:
    haydn = device("haydn")
    assert haydn.cpu.suspend_ma > 0
    origin = haydn.origins["cpu.suspend_ma"]
    assert (origin.source, origin.reference) == (Source.ASSUMED, "typical")
    assert "0 there" in origin.note


def test_power_budgets_are_the_published_ones() -> None:
    budgets = {name: device(name).thermal.budgets for name in NAMES if device(name).thermal.budgets}
    assert set(budgets) == {"oriole", "raven", "cheetah", "shiba"}
    cpu = next(one for one in budgets["oriole"] if one.sensor == "VIRTUAL-SKIN-CPU")
    assert (cpu.target_c, cpu.sustained_mw, cpu.min_mw, cpu.max_mw) == (41, 800, 800, 10_000)
    assert (cpu.over_mw_per_c, cpu.under_mw_per_c, cpu.integral_mw_per_c, cpu.period_s) == (400, 400, 5, 7)
    assert [share.target for share in cpu.shares] == ["cpu-little", "cpu-mid", "cpu-big"]


def test_a_raspberry_pi_4_draws_what_its_maker_measured() -> None:
    """600 mA idle, 1,200 mA with all four cores under stress at 1.5 GHz."""
    cpu = device("raspberrypi4").cpu
    at = cpu.clusters[0].khz.index(1_500_000)
    assert cpu.suspend_ma + cpu.idle_ma == 600
    stress_ma = 600 + cpu.active_ma + 4 * cpu.clusters[0].core_ma[at]
    assert stress_ma == pytest.approx(1200, rel=0.03)


@pytest.mark.parametrize(
    ("name", "wall_w"),
    [("raspberrypi4", 7.2), ("raspberrypi5", 11), ("orangepi5", 11.5), ("raspberrypizero2w", 2.1)],
)
def test_boards_draw_under_full_load_what_was_measured_at_the_wall(name: str, wall_w: float) -> None:
    cpu = device(name).cpu
    cores_ma = sum(cluster.core_ma[-1] * len(cluster.cores) for cluster in cpu.clusters)
    board_w = (cpu.suspend_ma + cpu.idle_ma + cpu.active_ma + cores_ma) * cpu.voltage_mv / 1e6
    assert 0.85 * wall_w < board_w < 1.05 * wall_w


def test_the_iphones_cell_is_measured() -> None:
    iphone = device("iphone13promax")
    assert iphone.battery is not None
    for name in ("ocv_mv", "resistance_mohm", "health_frac"):
        assert iphone.origins[f"battery.{name}"].source is Source.MEASURED
    assert iphone.battery.cutoff_mv == 3300
    assert (iphone.battery.ocv_mv[0], iphone.battery.ocv_mv[-1]) == (3407, 4390)
    assert max(iphone.battery.resistance_mohm) == 162  # 1.174 ohm at full charge is the gauge's artefact


def test_the_iphones_cell_is_found_again_in_its_log() -> None:
    """From its own figures, too: the fit does not depend on where it begins."""
    battery = device("iphone13promax").battery
    assert battery is not None
    found = identify_cell(load_series(make_devices.IPHONE_LOG).series, battery).battery
    assert found.ocv_mv[1:] == pytest.approx(battery.ocv_mv[1:], abs=2)
    assert found.resistance_mohm == pytest.approx(battery.resistance_mohm, rel=0.01)


def test_scanning_for_a_network_is_not_a_transfer() -> None:
    for name in NAMES:
        radio = device(name).radio
        origin = device(name).origins.get("radio.mobile_scan_ma")
        if radio is not None and origin is not None and origin.source is Source.ASSUMED:
            assert radio.mobile_scan_ma == 18.9


# Broken documents


SMALL = (FOLDER / "raspberrypi4.yaml").read_text()


def line_of(text: str, wanted: str) -> int:
    """Return the line, counted from 1, in which ``wanted`` first stands."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if wanted in line)


IDLE = "idle_ma: {published: 600, from: rpi_power}"


@pytest.mark.parametrize(
    ("old", "new", "at", "path", "message"),
    [
        (IDLE, "idle_ma: 600", "", "cpu.idle_ma", "expected one of measured"),
        (IDLE, f"{IDLE[:-1]}, assumed: 600}}", "", "cpu.idle_ma", "expected one of measured"),
        (
            IDLE,
            "idle_ma: {guessed: 600, from: rpi_power}",
            "",
            "cpu.idle_ma.guessed",
            "unknown key 'guessed'",
        ),
        (
            IDLE,
            "idle_ma: {published: six, from: rpi_power}",
            "",
            "cpu.idle_ma.published",
            "expected a number",
        ),
        (
            IDLE,
            "idle_ma: {published: -6, from: rpi_power}",
            "",
            "cpu.idle_ma.published",
            "expected a number of 0",
        ),
        (IDLE, "idle_ma: {published: 600}", "", "cpu.idle_ma", "from is missing"),
        (
            IDLE,
            "idle_ma: {published: 600, from: rpi_powr}",
            "",
            "cpu.idle_ma.from",
            "did you mean rpi_power?",
        ),
        (IDLE, "idel_ma: {published: 600, from: rpi_power}", "", "cpu.idel_ma", "did you mean idle_ma?"),
        ("kind: board", "kind: tablet", "", "kind", "expected phone or board"),
        ("version: 1", "version: 7", "", "version", "reads version 1"),
        ("- cpu:0-3", "- cpu:0-4", "", "processors[1]", "neither cores of one cluster (cpu:0-3)"),
        ("- cpu:0-3", "- gpu", "", "processors[1]", "nor a gpu or npu described"),
        ("[600000,", "[6000000,", "", "cpu.clusters[0].khz", "have to rise"),
        ("[600000,", "[500000, 600000,", "core_ma:", "cpu.clusters[0].core_ma", "13 values for 14"),
        ("[0, 1, 2, 3]", "[0, 0, 2, 3]", "", "cpu.clusters[0].cores", "a core stands here"),
        ("[soc, skin]", "[soc, skim]", "", "thermal.links[0].ends", "no node skim; did you mean skin?"),
        ("[skin, ambient]", "[skin, soc]", "  links:", "thermal.links", "no link leads to ambient"),
        ("- sensor: cpu", "- sensor: gpu", "", "thermal.throttles[0].sensor", "there is no gpu"),
        ("target: cpu", "target: cpu-big", "", "thermal.throttles[0].target", "there is no cpu-big"),
        (
            "clear_c: {assumed: 78,",
            "clear_c: {assumed: 98,",
            "",
            "thermal.throttles[0].clear_c",
            "above where it",
        ),
        ("node: soc", "node: chip", "", "thermal.sensors[0].node", "no node chip"),
        ("{assumed: 400,", "{assumed: 4000,", "memory:", "memory", "leave nothing"),
        ("  rpi_power:", "  spare: text\n  rpi_power:", "spare:", "references.spare", "no figure uses"),
    ],
)
def test_a_broken_profile_names_file_line_and_field(
    old: str, new: str, at: str, path: str, message: str
) -> None:
    assert old in SMALL
    broken = SMALL.replace(old, new, 1)
    with pytest.raises(DeviceError) as raised:
        parse_device(broken, "mine.yaml")
    problem = next(one for one in raised.value.problems if one.path == path)
    assert message in problem.message
    assert problem.line == line_of(broken, at or new)
    assert str(problem).startswith(f"mine.yaml:{problem.line}:{problem.column}: {path}: ")


def test_problems_stand_where_they_are_in_the_file() -> None:
    broken = SMALL.replace("idle_ma: {published: 600, from: rpi_power}", "idle_ma: 600")
    with pytest.raises(DeviceError) as raised:
        parse_device(broken, "mine.yaml")
    assert [one.line for one in raised.value.problems] == [line_of(broken, "idle_ma: 600")]


@pytest.mark.parametrize("text", ["", "# nothing\n", "a: [\n", "one: 1\n---\ntwo: 2\n", "[1, 2]"])
def test_what_is_no_profile_at_all_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=r"^mine\.yaml"):
        parse_device(text, "mine.yaml")


def test_a_cell_has_to_fit_together() -> None:
    phone = (FOLDER / "wt88047.yaml").read_text()
    for old, new, message in (
        ("ocv_mv: {assumed: [3300, 3504,", "ocv_mv: {assumed: [3600, 3504,", "has to rise with charge"),
        ("charge_frac: {assumed: [0, 0.05,", "charge_frac: {assumed: [0.01, 0.05,", "from 0 to 1"),
        ("charge_mv: {assumed: 4400,", "charge_mv: {assumed: 4200,", "never be full"),
        (
            "resistance_frac: {assumed: [0, 0.071,",
            "resistance_frac: {assumed: [0, 0.05, 0.071,",
            "15 values for 16",
        ),
        ("active_ma: {assumed: 136,", "active_ma: {assumed: 200,", "draws nothing"),
    ):
        assert old in phone
        with pytest.raises(DeviceError, match=message):
            parse_device(phone.replace(old, new))


def test_an_unknown_device_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no such device or file; did you mean oriole"):
        load_device("orjole")
    with pytest.raises(DeviceError, match="no such device or file"):
        load_device(tmp_path / "missing.yaml")


def test_a_file_of_ones_own_loads_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL.replace("name: raspberrypi4", "name: mine"))
    mine = load_device(path)
    assert mine.name == "mine"
    assert mine.cpu == device("raspberrypi4").cpu


# Schema


def test_the_schema_is_valid_and_every_mapping_refuses_unknown_keys() -> None:
    schema = device_schema()
    Draft202012Validator.check_schema(schema)
    mappings = [part for part in (schema, *schema["$defs"].values()) if part.get("type") == "object"]
    assert len(mappings) > 20
    assert all(part["additionalProperties"] is False for part in mappings)


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("battery", model.Battery),
        ("cluster", model.Cluster),
        ("cpu", model.Cpu),
        ("accelerator", model.Accelerator),
        ("memory", model.Memory),
        ("screen", model.Screen),
        ("radio", model.Radio),
        ("media", model.Media),
        ("node", model.Node),
        ("link", model.Link),
        ("sensor", model.Sensor),
        ("throttle", model.Throttle),
        ("share", model.BudgetShare),
        ("budget", model.PowerBudget),
        ("charge_limit", model.ChargeLimit),
        ("thermal", model.Thermal),
    ],
)
def test_the_schema_has_the_fields_of_the_dataclasses(definition: str, kind: type) -> None:
    part = device_schema()["$defs"][definition]
    given = {one.name: one for one in dataclasses.fields(kind)}
    assert part["properties"].keys() == given.keys()
    assert set(part["required"]) == {
        name for name, one in given.items() if one.default is dataclasses.MISSING
    }
    assert all(prop["description"].endswith(".") and prop["title"] for prop in part["properties"].values())


def test_the_schemas_top_has_the_fields_of_a_device() -> None:
    fields = {one.name for one in dataclasses.fields(DeviceProfile)}
    assert device_schema()["properties"].keys() == fields - {"origins"} | {"version"}


def test_profiles_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "trimtab_sim"
    (wheel / "_shipped" / "devices").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="without its device profiles"):
        shipped_devices_folder(wheel)
    (wheel / "_shipped" / "devices" / SCHEMA_FILE).write_text("{}")
    assert shipped_devices_folder(wheel) == wheel / "_shipped" / "devices"
    assert FOLDER.name == "devices"


# The generator


def test_figures_are_written_as_yaml_that_reads_back() -> None:
    text = to_yaml(
        {
            "version": 1,
            "state": "off",
            "title": 'a "quoted": text',
            "long": "word " * 60,
            "flag": True,
            "empty": [],
            "parts": [{"name": "x", "ma": published([1, 2.5, None], "here", 'so "it" is')}],
            "wide": assumed(list(range(200)), "there"),
        },
        ["head"],
    )
    assert text.startswith("# head\n")
    assert max(map(len, text.splitlines())) <= 110
    back = yaml.safe_load(text)
    assert back["parts"] == [
        {"name": "x", "ma": {"published": [1, 2.5, None], "from": "here", "note": 'so "it" is'}}
    ]
    assert back["wide"] == {"assumed": list(range(200)), "from": "there"}
    assert back["long"] == ("word " * 60).strip()
    assert (back["title"], back["state"], back["flag"], back["empty"]) == (
        'a "quoted": text',
        "off",
        True,
        [],
    )


def test_rounding_keeps_significant_digits() -> None:
    assert [rounded(x, 3) for x in (0.12345, 1234.5, 3.0, 41.1)] == [0.123, 1230, 3, 41.1]
    assert isinstance(rounded(3.0), int)


def test_without_data_the_generator_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        make_devices.main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert f"{tmp_path}/devices/cooling_state_power.csv: no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_boards_need_no_data(name: str) -> None:
    assert name in NAMES
    assert device(name).title == BOARDS[name].title


@needs_data
def test_the_generator_makes_the_same_bytes() -> None:
    made = make_devices.make_all(Path(os.environ["TRIMTAB_DATA"]))
    assert tuple(sorted(made)) == NAMES
    for name, text in made.items():
        assert text == (FOLDER / f"{name}.yaml").read_text(), name


@needs_data
def test_every_published_step_is_in_a_profile() -> None:
    """cpu_opp.csv is a second way to the same numbers: (codename, cluster) -> kHz and mA per core."""
    data = Path(os.environ["TRIMTAB_DATA"]) / "devices"
    with (data / "cpu_opp.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 600
    by_cluster = itertools.groupby(rows, key=lambda row: (row["codename"], int(row["cluster"])))
    for (name, index), group in by_cluster:
        steps = sorted((float(row["freq_khz"]), float(row["core_ma"])) for row in group)
        cluster = tree(name)["cpu"]["clusters"][index]
        assert [khz for khz, _ in steps] == cluster["khz"]["published"]
        assert [ma for _, ma in steps] == cluster["core_ma"]["published"]


@needs_data
def test_screens_and_capacities_are_those_of_the_table_of_devices() -> None:
    data = Path(os.environ["TRIMTAB_DATA"]) / "devices"
    with (data / "devices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 16
    for row in rows:
        profile = device(row["codename"])
        assert profile.battery is not None
        assert profile.screen is not None
        assert profile.screen.on_ma == float(row["screen_on_ma"])
        assert profile.screen.full_ma == float(row["screen_full_ma"])
        if row["battery_mah"]:
            assert profile.battery.capacity_mah == float(row["battery_mah"])


@needs_data
def test_thresholds_are_those_of_the_thermal_policies() -> None:
    data = Path(os.environ["TRIMTAB_DATA"]) / "devices"
    policies = json.loads((data / "thermal_policies.json").read_text())
    for policy in policies:
        if policy["codename"] not in NAMES:
            continue
        theirs = {entry["Name"]: entry["HotThreshold"][1:] for entry in policy["sensors"]}
        ours = [
            [None if hot == math.inf else hot for hot in sensor.hot_c]
            for sensor in device(policy["codename"]).thermal.sensors
        ]
        assert all(hot in theirs.values() or hot == [None, None, 95, None, None, 125] for hot in ours)
