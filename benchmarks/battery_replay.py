"""Replay recorded batteries through the simulator's phone and say how far off it is.

Run ``[TRIMTAB_DATA=DIR] python benchmarks/battery_replay.py [--json]``; without DIR the traces that ship are taken.
DIR needs ``iphone13promax_battery_20s_44h.csv.gz`` and ``iphone13promax_battery_5min_38d.csv.gz``, itself or in
``traces``, and ``honor_scenario*_history.txt`` there or in ``traces/android_batterystats``. What is fitted on what
stands in the modules ``battery_iphone`` and ``battery_android``, and in ``docs/simulator-models.md``.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "simulator"))

import battery_android
import battery_iphone

ROOT = Path(__file__).resolve().parent.parent
MOST_LEVEL_POINTS = 1.5
MOST_VOLTAGE_MV = 30.0
MOST_TEMPERATURE_C = 1.5
MOST_FINAL_POINTS = 2.0


def verdicts(iphone: Mapping[str, Any], android: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return what is judged: name, figure, limit."""
    second = "temperature_rmse_c_on_charger_second_night"
    return [
        ("iPhone: level, points", iphone["level_rmse_points"], MOST_LEVEL_POINTS),
        ("iPhone: voltage, mV", iphone["voltage_rmse_mv"], MOST_VOLTAGE_MV),
        ("iPhone: temperature, second night on the charger, C", iphone[second], MOST_TEMPERATURE_C),
        (
            "iPhone: temperature, all of it, surroundings from every other row, C",
            iphone["temperature_rmse_c_other_rows"],
            MOST_TEMPERATURE_C,
        ),
        (
            "iPhone: temperature, all of it, one ambient temperature, C",
            iphone["temperature_rmse_c_one_ambient"],
            MOST_TEMPERATURE_C,
        ),
        *(
            (f"{name}: final level, points", abs(one["final_error_points"]), MOST_FINAL_POINTS)
            for name, one in android.items()
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    data = os.environ.get("TRIMTAB_DATA") or ROOT / "simulator" / "traces"
    parser.add_argument("--data", type=Path, default=data, help="the data folder")
    arguments = parser.parse_args()
    folder = battery_iphone.folder(arguments.data)
    missing = [name for name in (battery_iphone.LOG, battery_iphone.EARLIER) if not (folder / name).is_file()]
    if missing:
        parser.error(f"{folder} has no {' and no '.join(missing)}: give --data DIR or set TRIMTAB_DATA")
    iphone, android = battery_iphone.measure(arguments.data), battery_android.measure(arguments.data)
    judged = verdicts(iphone, android)
    if arguments.json:
        held = {
            name: {"value": value, "at_most": limit, "met": value <= limit} for name, value, limit in judged
        }
        print(json.dumps({"iphone": iphone, "android": android, "judged": held}, indent=1))
    else:
        for title, figures in (("iPhone 13 Pro Max, 44 h", iphone), *android.items()):
            print(f"\n{title}")
            for name, value in figures.items():  # type: ignore[attr-defined]
                print(f"  {name:52} {value}")
        print("\njudged")
        for name, value, limit in judged:
            print(f"  {name:70} {value:7.3f}  at most {limit:4.1f}  {'met' if value <= limit else 'MISSED'}")


if __name__ == "__main__":
    main()
