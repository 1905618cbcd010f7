"""Writes docs/contract.md from the code: `python tests/local/contract/page.py`.

It stands among the tests because it reads both sides, which never import each other: what `infra` gives and expects,
and what `app` answers. The tests beside it hold a command or an image against the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from app import all_in_one, fail_fast
from app.__main__ import EXIT_SETTINGS, EXIT_TERMINATED
from app.queue import emf
from app.settings import Settings as AppSettings
from app.web.server import EXIT_FORCED
from infra.aws import queue_metrics, task_definition
from infra.aws.alarms.model import MINUTE
from infra.aws.monitoring import ERROR_ENTRIES
from infra.aws.postgres_logins import BOOTSTRAP_SECRETS, CA_BUNDLE, bootstrap_task
from infra.contracts import HttpHealth, ServiceSpec, TaskSpec
from infra.settings import parse
from infra.settings.secrets import GIVEN_VARIABLES
from infra.settings.tables import FARGATE_STOP_TIMEOUT_S
from infra.workload import Workload

PAGE: Final = Path(__file__).parents[3] / "docs" / "contract.md"
STACK: Final = {"target": "aws", "region": "eu-central-1", "domain": {"name": "api.example.com"}}
_WEBHOOK: Final = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="

Spec = ServiceSpec | TaskSpec


def workload() -> Workload:
    """That of a stack on AWS with every default, and with every secret that can be given."""
    given = {name: _WEBHOOK if "webhook" in name else "a-value-of-theirs" for name in GIVEN_VARIABLES if name != "jwt"}
    return Workload.of(parse({**STACK, "secrets": given}, stack="prod"))


def page() -> str:
    """The whole page."""
    app = workload()
    (worker,) = app.workers
    services: tuple[ServiceSpec, ...] = (app.api, worker)
    return "\n".join(
        [
            _HEAD,
            _COMMANDS.format(table=_commands(app, worker)),
            _HEALTH.format(table=_checks(services), api=app.api.health_command[-1]),
            _VARIABLES.format(table=_variables((app.api, worker, app.migrate))),
            _SECRETS.format(table=_secrets((app.api, worker, app.migrate, app.backup))),
            _SIGNALS.format(table=_stops((*services, app.migrate))),
            _EXITS.format(table=_exits()),
            _MIGRATION.format(timeout=f"{app.migrate.timeout:,}"),
            _LOGS.format(pattern=ERROR_ENTRIES),
            _FIGURES.format(table=_figures(), namespace=queue_metrics.NAMESPACE, period=MINUTE, line=_example_line()),
            _CONTAINER.format(
                user=task_definition.USER, bundle=CA_BUNDLE, variables=" and ".join(_code(BOOTSTRAP_SECRETS))
            ),
            _KIT,
        ]
    )


_HEAD = """\
# The contract of the image

What an image keeps to be deployed by this program. The application in `app/` keeps it; another one in its place, in
whatever language, needs nothing else. `make docs` writes this page from the code, and a test keeps it current. How to
bring such an image is in [Make it yours](make-it-yours.md#bring-an-image-of-your-own).

One image runs everything, and `MODE` says what a container is. The values below are those of a stack on AWS with every
default; [configuration](reference/configuration.md) says which key of a stack file sets which variable, and what a
change of it rolls.
"""

_COMMANDS = """\
## Commands

{table}

`MODE=all` is the API and a worker in one container; it gets the variables of both. An image without Python has a
`python` on its `PATH` that takes these arguments, for example a script of three lines.
"""

_HEALTH = """\
## Port and health

{table}

- `GET /health/live` answers 200 as long as the process can answer at all, whatever Postgres and Redis do.
- `GET /health` answers 200 when requests can be served, else 503 with the reason: the database away or not migrated, or
  the process on its way out. A Redis that is away is still 200: accepted work waits in Postgres.
- `python -m {api}` is the same question as a command inside the container, for every `MODE`: exit code 0, or
  another one with the reason on one line of the standard error.
- A worker touches `HEALTH_FILE` about once a second while it is well. It is not unwell because Redis or Postgres is
  away: a new one could do no more.
- On the local target `LISTEN_FDS=2` says that descriptors 3 and 4 are listening sockets: the service's own port, which
  all replicas share, and one of the replica alone, for its health. `HOST` and `PORT` mean nothing then.
"""

_VARIABLES = """\
## Variables

An empty variable is one that is not set. Times without a unit are milliseconds. No value: this role does not get it.

{table}
"""

_SECRETS = """\
## Secrets

Never in a plain variable of a task definition. On AWS the container finds the value in the variable; on the local
target in the file that `NAME_FILE` names, whose last line may end with a newline. An image reads both, and refuses both
at once.

{table}

`JWT_SECRET` stands in the place of `JWT_KEYS` where `secrets.jwt` is set. Those of the providers are bound only where
the stack file gives them.
"""

_SIGNALS = """\
## Signals

`SIGTERM` asks for the end; what has not ended after the last column is killed. A process 1 must have a handler for it.

{table}

The API goes on answering for `SHUTDOWN_DRAIN`, with `Connection: close` and 503 from `/health`, and then has
`SHUTDOWN_TIMEOUT` for the requests under way. A worker takes no more jobs, has `SHUTDOWN_TIMEOUT` for those that it
has, and hands back what is not done by then, so that another one does it at once. A second signal means: now.
"""

_EXITS = """\
## Exit codes

0 is success. To the program everything else is a failure: of the migration, which then changes nothing that serves, or
of a replica, which is started again. These are the application's own:

{table}
"""

_MIGRATION = """\
## Migration

`MODE=migrate` runs once before anything new serves, for each new image, with a login that owns the tables; `SET ROLE`
to `DATABASE_OWNER_ROLE` first, where that is set, so that the application's login may use what it makes. It ends within
{timeout} s. It commits everything or nothing, two at once are one after the other, and a schema that is newer than the
image is left alone: the version before goes on running on it while a rollout is under way, and after a rollback.

The table `alembic_version` holds the version in `version_num`: the local target reads it to see whether the database
was changed since, and prints it.
"""

_LOGS = """\
## Logs

To the standard output and error, nothing to files. With `LOG_FORMAT=json` each line is one JSON object, with a `level`
(`debug`, `info`, `warning`, `error`, `critical`) and an `event`. No secret is written, whatever the level. The program
reads them twice: the last twenty lines of a process that failed are shown as the reason, and on AWS errors are counted
by the filter

```
{pattern}
```
"""

_FIGURES = """\
## Figures of the queues

With `ENABLE_EMF=true` each API process writes a line for each queue (`QUEUE_NAME` and `EMF_QUEUES`) to its standard
output every `EMF_INTERVAL`, at least one in each {period} s, in CloudWatch's embedded metric format. Workers are scaled
by them, also from nothing, and alarms look at them; without them both stand still. A figure that could not be read is
left out of the line: a zero would remove workers. The namespace is `{namespace}`, the dimensions are `Stack`
(`STACK_NAME`) and `Queue`:

{table}

```json
{line}
```
"""

_CONTAINER = """\
## The container

On AWS, as the task definitions have it:

- User `{user}`, whatever the image says; a read-only root file system with `/tmp` as the one place to write; no
  capability; an init process as process 1. For the architecture of `image.architecture`.
- `{bundle}` is in the image: `DATABASE_URL` asks for `sslmode=verify-full` with it.
- `python -m app.bootstrap` makes the owner role and the logins on a new database, from {variables}
  ([environment](reference/environment.md#preparing-a-database)). It runs before every migration and changes nothing
  that is right. An image of one's own copies it from `app/`, or the stack uses `postgres.provider: external`.
- `pg_dump` and `pg_restore` are of the version of the server or newer; `backup.dump_image` names another image that has
  them. The first container of the dump runs `python -c` with the standard library alone, to pass the authorities on.
- A worker with jobs under way asks the address in `ECS_AGENT_URI` to be spared when workers are removed
  (`PUT /task-protection/v1/state`). One that does not is removed in the middle of its jobs, which run again.
"""

_KIT = """\
## Is it kept?

`tests/local/contract` holds an image against this page, beside a real Postgres and Valkey:

```console
$ .venv/bin/pytest tests/local/contract                                          # the application in app/
$ CONTRACT_IMAGE=registry.example.com/mine:1 .venv/bin/pytest tests/local/contract   # an image, with Docker
```
"""


def _commands(app: Workload, worker: ServiceSpec) -> str:
    rows = [
        (spec.name, f"`{spec.mode}`" if spec.mode else "", _command(spec), what)
        for spec, what in (
            (app.api, "serves until it is stopped"),
            (worker, "does jobs until it is stopped"),
            (app.migrate, "brings the schema up to date, and ends"),
            (bootstrap_task(app.migrate), "prepares a database of the stack's own, and ends; AWS only"),
            (app.backup, "writes a dump of the database, and ends; AWS only"),
        )
    ]
    return _table(("process", "`MODE`", "command", "what it does"), rows)


def _checks(services: Iterable[ServiceSpec]) -> str:
    rows = []
    for spec in services:
        check = spec.health
        asked = f"`GET {check.path}`" if isinstance(check, HttpHealth) else f"`{' '.join(check.command)}`"
        ready = f"`GET {spec.readiness.path}`" if spec.readiness else ""
        times = f"every {check.interval} s, {check.timeout} s to answer"
        failed = f"{check.retries} in a row, from {check.start_period} s after the start"
        rows.append((spec.name, f"`PORT`: {spec.port}" if spec.port else "none", asked, ready, times, failed))
    return _table(("process", "port", "well when 200 or 0", "gets requests when 200", "asked", "failed"), rows)


def _variables(specs: Sequence[Spec]) -> str:
    rows = []
    for name, field in AppSettings.model_fields.items():
        variable = name.upper()
        if any(variable in spec.environment for spec in specs):
            cells = [_value(spec.environment, variable) for spec in specs]
            rows.append((f"`{variable}`", *cells, str(field.description).replace("|", "\\|")))
    return _table(("variable", *(spec.name for spec in specs), "meaning"), rows)


def _value(environment: Mapping[str, str], variable: str) -> str:
    if variable not in environment:
        return ""
    return f"`{environment[variable]}`" if environment[variable] else "empty"


def _secrets(specs: Sequence[Spec]) -> str:
    names = list(dict.fromkeys(name for spec in specs for name in spec.secrets))
    rows = []
    for name in names:
        field = AppSettings.model_fields.get(name.lower())
        meaning = str(field.description) if field else "As libpq reads it; a login that may only read."
        held = ["yes" if name in spec.secrets else "" for spec in specs]
        rows.append((f"`{name}`", *held, meaning.replace("|", "\\|")))
    return _table(("secret", *(spec.name for spec in specs), "meaning"), rows)


def _stops(specs: Sequence[Spec]) -> str:
    rows = []
    for spec in specs:
        environment = spec.environment
        drain, finish = (_seconds(environment, name) for name in ("SHUTDOWN_DRAIN", "SHUTDOWN_TIMEOUT"))
        stop = spec.stop_timeout if isinstance(spec, ServiceSpec) else FARGATE_STOP_TIMEOUT_S
        rows.append((spec.name, drain, finish, f"{stop} s"))
    return _table(("process", "`SHUTDOWN_DRAIN`", "`SHUTDOWN_TIMEOUT`", "killed after"), rows)


def _seconds(environment: Mapping[str, str], name: str) -> str:
    return f"{int(environment[name]) / 1000:g} s" if name in environment else ""


def _exits() -> str:
    rows = [
        ("0", "stopped as asked, or done"),
        ("1", "cannot serve (the port is taken), or the migration failed and nothing was changed"),
        (str(EXIT_SETTINGS), "the environment cannot be used, or Redis is not suitable: starting again cannot help"),
        (str(fail_fast.EXIT_FAILED), "a fault in the program: a thread or task ended unexpectedly"),
        (str(EXIT_FORCED), "an API after a second signal: requests under way were cut"),
        (str(EXIT_TERMINATED), "a signal came while it started or migrated"),
    ]
    assert all_in_one.EXIT_CHILD_ENDED == 1
    return _table(("code", "meaning"), rows)


_MEANINGS: Final = {
    queue_metrics.QUEUE_DEPTH: "jobs that are due and not taken",
    queue_metrics.OLDEST_WAIT: "age of the oldest of them, 0 without one",
    queue_metrics.RUNNING_JOBS: "jobs that a worker holds",
    queue_metrics.FAILED_JOBS: "jobs that failed for good within the last five minutes",
    queue_metrics.OUTBOX_UNSENT: "jobs that are due and were not seen on the queue yet",
    queue_metrics.OUTBOX_OLDEST: "age of the oldest of them, 0 without one",
    queue_metrics.WORKERS: "workers that are alive",
}
_SCALED_BY: Final = frozenset(
    {queue_metrics.QUEUE_DEPTH, queue_metrics.OLDEST_WAIT, queue_metrics.RUNNING_JOBS, queue_metrics.WORKERS}
)


def _figures() -> str:
    rows = [
        (f"`{name}`", emf.UNITS[name], _MEANINGS[name], "scaling, alarms" if name in _SCALED_BY else "alarms")
        for name in queue_metrics.FIGURES
    ]
    return _table(("figure", "unit", "meaning", "read by"), rows)


def _example_line() -> str:
    return emf.line(
        stack="prod", queue="webhook-processor", values=dict.fromkeys(queue_metrics.FIGURES, 0), now=1_800_000_000
    )


def _command(spec: Spec) -> str:
    return f"`{' '.join(spec.command)}`"


def _code(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
