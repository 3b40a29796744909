"""``trimtab serve``: run the daemon."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trimtab.cli.output import user_errors


def families_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--families``."""
    return click.option(
        "--families",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        multiple=True,
        help="Folder that holds families, each in a folder of its own. Repeatable. Default: the shipped ones.",
    )(command)


def folder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where families and state lie."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for journal and profiles. Default: $XDG_STATE_HOME/trimtab.",
    )(families_option(command))


@click.command()
@click.option(
    "--socket", type=click.Path(path_type=Path), help="Unix-domain socket to listen at (mode 0600)."
)
@click.option("--tcp", default="", metavar="HOST:PORT", help="Listen on TCP as well. Loopback only.")
@click.option("--allow-remote", is_flag=True, help="Accept a TCP address that other machines can reach.")
@click.option(
    "--policy", default="balanced", show_default=True, help="A shipped policy's name or a YAML file."
)
@folder_options
@click.option("--virtual-battery", metavar="J[:LEVEL[:MW]]", help="Pretend a battery: capacity in joules, level 0..1, drain in mW.")  # fmt: skip
@click.option("--device-file", type=click.Path(path_type=Path, dir_okay=False), help="Sensor readings from a JSON or YAML file.")  # fmt: skip
@click.option("--sensor-interval", type=click.FloatRange(0.05, 60), default=1.0, show_default=True, help="Seconds between two looks at the sensors while requests come.")  # fmt: skip
@click.option("--profile-budget", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds of measuring per task at the first start.")  # fmt: skip
@click.option("--remote", multiple=True, metavar="NAME=HOST:PORT[,KEY=VALUE...]", help="A KServe v2 gRPC server to run variants on where the policy allows it (docs/processors.md). Repeatable.")  # fmt: skip
@click.option("--all-variants", is_flag=True, help="Offer also variants that another one makes pointless.")
@click.option("--journal-limit", type=click.IntRange(min=1), default=64, show_default=True, metavar="MIB", help="Size from which the journal drops its oldest rows.")  # fmt: skip
@click.option("--drain-timeout", type=click.FloatRange(0, 3600), default=30.0, show_default=True, help="Seconds to finish admitted requests after SIGTERM.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True, help="Least severe messages to log.")  # fmt: skip
@user_errors
def serve(
    socket: Path | None,
    tcp: str,
    allow_remote: bool,
    policy: str,
    families: tuple[Path, ...],
    state: Path | None,
    virtual_battery: str | None,
    device_file: Path | None,
    sensor_interval: float,
    profile_budget: float,
    remote: tuple[str, ...],
    all_variants: bool,
    journal_limit: int,
    drain_timeout: float,
    log_level: str,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    At the first start it measures every variant on every processor, which takes some seconds.
    SIGHUP reads the policy again; a changed policy file is noticed without it.
    """
    from trimtab import app
    from trimtab.engine.engine import EngineSettings
    from trimtab.rpc.address import Listen, default_socket
    from trimtab.servers import ServerSpec

    began_s = time.monotonic()
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)  # fmt: skip
    try:
        battery = None if virtual_battery is None else app.BatterySpec.parse(virtual_battery)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--virtual-battery") from error
    try:
        servers = tuple(ServerSpec.parse(text) for text in remote)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--remote") from error
    settings = app.Settings(
        listen=Listen(socket=socket or default_socket(), tcp=tcp, allow_remote=allow_remote),
        policy=policy,
        families=families,
        state_folder=state or app.default_state_folder(),
        battery=battery,
        device_file=device_file,
        journal_bytes=journal_limit << 20,
        profile_budget_s=profile_budget,
        drain_s=drain_timeout,
        all_variants=all_variants,
        servers=servers,
        engine=EngineSettings(sensor_s=sensor_interval),
    )
    sys.exit(0 if run(settings, began_s) else 1)


def run(settings: Any, began_s: float) -> bool:
    """Serve with settings; return whether every admitted request was answered."""
    import asyncio

    from trimtab import app
    from trimtab.cli.progress import measuring

    app.check_settings(settings)
    with measuring() as progress:
        machinery = app.survey_machine(settings, progress)

    def started(server: Any, engine: Any) -> None:
        tasks = ", ".join(engine.families())
        seconds = time.monotonic() - began_s
        click.echo(f"trimtab serves {tasks} at {', '.join(server.addresses)} (ready after {seconds:.2f} s)", err=True)  # fmt: skip

    return asyncio.run(app.serve(settings, machinery, started))
