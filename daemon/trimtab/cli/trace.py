"""``trimtab trace``: read recorded traces of any known format, look at them, check and store them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import fail, json_option, plain, print_json, table, user_errors

if TYPE_CHECKING:
    from trimtab_sim.traces import ArrivalReading, Problem, Reading
    from trimtab_sim.traces.summary import ArrivalSummary

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
session_option = click.option("--session", type=click.IntRange(min=1), help="Of a journal only this session. Default: all.")  # fmt: skip
what_option = click.option("--what", type=click.Choice(["arrivals", "device"]), help="Of a journal, which holds both: its requests, or what its sensors told. Default: its requests.")  # fmt: skip
limit_option = click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Problems printed per file, at most.")  # fmt: skip


@click.group()
def trace() -> None:
    """Import, show and check traces: of devices over time, and of requests that arrive."""


@trace.command("import")
@file_argument
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="Where to write: .csv, .csv.gz or .parquet.")  # fmt: skip
@what_option
@session_option
@limit_option
@json_option
@user_errors
def import_trace(file: Path, out: Path, what: str | None, session: int | None, limit: int, as_json: bool) -> None:  # fmt: skip
    """Read FILE, of any known format, and store it in trimtab's own.

    Known are trimtab's journal, Android's `dumpsys batterystats --history` and `dumpsys battery`, the iPhone
    logs, lists of arrivals and plain CSV with a header (docs/traces.md has the names). Rows that cannot be used
    are left out and told with their line.
    """
    from trimtab_sim.traces import write_trace

    with _readable():
        reading = _read(file, what, session)
        write_trace(reading.trace, out)
    if as_json:
        print_json(_told(file, reading) | {"out": str(out)})
        return
    _print_problems(file, reading, limit)
    click.echo(f"wrote {len(reading.trace)} of {reading.rows} rows ({reading.format}) to {out}")


@trace.command()
@file_argument
@click.option("--sessions", is_flag=True, help="Also find the times the screen was in use, and fit them.")
@what_option
@session_option
@limit_option
@json_option
@user_errors
def show(file: Path, sessions: bool, what: str | None, session: int | None, limit: int, as_json: bool) -> None:  # fmt: skip
    """Print what is in FILE: each column's range and its course over time.

    Means weigh each value by how long it holds. The course is 40 parts of the time, from low to high.
    """
    with _readable():
        reading = _read(file, what, session)
        fitted = _fitted(reading) if sessions else None
    summary = _summary(reading)
    if as_json:
        print_json(_told(file, reading) | {"summary": _without_nan(plain(summary)), "sessions": fitted})
        return
    _print_problems(file, reading, limit)
    _print_heading(file, reading)
    if hasattr(reading, "series"):
        _print_columns(summary)
    else:
        _print_arrivals(summary)
    if fitted:
        _print_sessions(fitted)


@trace.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@limit_option
@json_option
@user_errors
def check(files: tuple[Path, ...], limit: int, as_json: bool) -> None:
    """Say what is wrong with traces, file:line: message; exit code 1 if anything is.

    Notes tell what is odd and cost no row; they alone do not fail a file. Of a journal both the requests and
    the device's states are checked.
    """
    from trimtab_sim.traces import TraceError

    told: list[dict[str, Any]] = []
    for file in files:
        try:
            readings = _all_of(file)
        except TraceError as error:
            told.append({"file": str(file), "error": str(error)})
            if not as_json:
                click.echo(str(error))
            continue
        for reading in readings:
            told.append(_told(file, reading))
            if not as_json:
                _print_problems(file, reading, limit, err=False)
                click.echo(f"{file}: {reading.format}, {reading.rows} rows, {reading.problem_count} problems")
    if as_json:
        print_json(told)
    if any("error" in one or one["problem_count"] for one in told):
        raise click.exceptions.Exit(1)


@contextmanager
def _readable() -> Iterator[None]:
    """Tell a file that cannot be read in one line."""
    from trimtab_sim.traces import TraceError

    try:
        yield
    except TraceError as error:
        fail(str(error))


def _read(file: Path, what: str | None, session: int | None) -> "Reading | ArrivalReading":
    from trimtab_sim.traces import detect, load_trace
    from trimtab_sim.traces.journal import read_journal_arrivals, read_journal_device

    if detect(file) == "journal":
        return (read_journal_device if what == "device" else read_journal_arrivals)(file, session)
    if what is not None or session is not None:
        fail(f"{file}: --what and --session are for journals")
    return load_trace(file)


def _all_of(file: Path) -> "list[Reading | ArrivalReading]":
    from trimtab_sim.traces import detect, load_arrivals, load_series, load_trace

    if detect(file) == "journal":
        return [load_arrivals(file), load_series(file)]
    return [load_trace(file)]


def _told(file: Path, reading: "Reading | ArrivalReading") -> dict[str, Any]:
    """Return what every command says of a file in JSON."""
    found = reading.trace
    return {
        "file": str(file),
        "format": reading.format,
        "kind": "series" if hasattr(reading, "series") else "arrivals",
        "rows": reading.rows,
        "used": len(found),
        "duration_s": found.duration_ns / 1e9,
        "problem_count": reading.problem_count,
        "problems": [problem for problem in reading.problems if not problem.note],
        "notes": [problem for problem in reading.problems if problem.note],
    }


def _print_problems(file: Path, reading: "Reading | ArrivalReading", limit: int, err: bool = True) -> None:
    notes = [problem for problem in reading.problems if problem.note]
    wrong = [problem for problem in reading.problems if not problem.note][:limit]
    for problem in (*notes[:limit], *wrong):
        click.echo(_line(file, problem), err=err)
    more = reading.problem_count - len(wrong)
    if more:
        click.echo(f"{file}: {more} more problems", err=err)


def _line(file: Path, problem: "Problem") -> str:
    place = f"{file}:{problem.line}" if problem.line else str(file)
    return f"{place}: {'note: ' if problem.note else ''}{problem.message}"


def _print_heading(file: Path, reading: "Reading | ArrivalReading") -> None:
    from datetime import UTC, datetime

    from trimtab_sim.traces.order import span

    found = reading.trace
    click.echo(
        f"{file}: {reading.format}, {len(found)} of {reading.rows} rows used, {span(found.duration_ns)}"
    )
    if found.epoch_unix_ns is not None:
        began = datetime.fromtimestamp((found.epoch_unix_ns + int(found.at_ns[0])) / 1e9, UTC)
        click.echo(f"begins {began:%Y-%m-%d %H:%M:%S}")


def _summary(reading: Any) -> Any:
    from trimtab_sim.traces.summary import summarise_arrivals, summarise_series

    if hasattr(reading, "series"):
        return summarise_series(reading.series)
    return summarise_arrivals(reading.arrivals)


def _print_columns(columns: Any) -> None:
    from trimtab_sim.traces.summary import sparkline

    table(
        ("column", "unit", "known", "low", "mean", "high", "last", "over time"),
        [
            (
                c.column,
                c.unit,
                c.known,
                *(_short(x) for x in (c.low, c.mean, c.high, c.last)),
                sparkline(c.course),
            )
            for c in columns
        ],
    )


def _print_arrivals(summary: "ArrivalSummary") -> None:
    from trimtab_sim.traces.summary import sparkline

    click.echo(
        f"{summary.count} arrivals, {_short(summary.rate_per_s)} per second; gaps p50 {_short(summary.gap_s_p50)} s,"
        f" p99 {_short(summary.gap_s_p99)} s, cv {summary.gap_cv:.2f}; busiest minute {summary.busiest_minute}"
    )
    click.echo(f"rate  {sparkline(summary.course_per_s)}  to {_short(max(summary.course_per_s))} per second")
    for column, counts in summary.words.items():
        click.echo(f"{column}: " + ", ".join(f"{word or '(none)'} {count}" for word, count in counts.items()))


def _without_nan(value: Any) -> Any:
    """Return plain data with ``None`` in place of NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if value != value else value


def _short(value: float) -> str:
    return "-" if value != value else f"{value:.5g}"


def _fitted(reading: Any) -> dict[str, Any] | None:
    from trimtab_sim.traces.sessions import find_sessions, fit_sessions

    if not hasattr(reading, "series"):
        fail("sessions are found in a device's figures, not in arrivals")
    begins_s, ends_s = find_sessions(reading.series)
    try:
        model = fit_sessions(begins_s, ends_s)
    except ValueError as error:
        fail(str(error))
    return {"sessions": len(begins_s), "in_use_s": float((ends_s - begins_s).sum()), "length": model.length, "pause": model.pause}  # fmt: skip


def _print_sessions(fitted: dict[str, Any]) -> None:
    click.echo(f"{fitted['sessions']} sessions, {fitted['in_use_s'] / 3600:.2f} h in use")
    table(
        ("", "distribution", "first", "second", "least s", "Kolmogorov", "1.36/sqrt(n)"),
        [
            (name, fit.name, f"{fit.first:.4g}", f"{fit.second:.4g}", f"{fit.least_s:g}", f"{fit.distance:.3f}",
             f"{1.36 / fit.count**0.5:.3f}")
            for name, fit in (("length", fitted["length"]), ("pause", fitted["pause"]))
        ],
    )  # fmt: skip
