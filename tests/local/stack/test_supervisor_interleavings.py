"""What comes between two steps of the supervisor, on one loop and without its processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.supervisor.child import Children
from infra.local.supervisor.logfile import LogFile
from infra.local.supervisor.replica import Replica, StartFailed
from infra.local.supervisor.service import Outcome, Service
from infra.local.supervisor.spec import Spec

Web = Callable[..., Spec]


def replica(folder: Path, spec: Spec, children: Children) -> Replica:
    return Replica(
        number=0,
        spec=spec,
        children=children,
        listener=None,
        log=LogFile(folder / "log"),
        run=folder / "run",
        changed=lambda: None,
    )


def test_a_change_that_waited_while_the_service_was_stopped_starts_nothing(tmp_path: Path, web: Web) -> None:
    async def main() -> tuple[list[Spec], list[Outcome]]:
        service = Service(tmp_path, Children())
        begun: list[Spec] = []
        applying = asyncio.Event()

        async def apply(spec: Spec) -> Outcome:
            begun.append(spec)
            applying.set()
            if len(begun) == 1:
                await asyncio.Event().wait()
            return Outcome(True)

        service._apply = apply  # type: ignore[method-assign]
        waiting = [asyncio.create_task(service.apply(web(label=label))) for label in ("first", "second")]
        await applying.wait()
        await service.stop()
        return begun, await asyncio.gather(*waiting)

    begun, outcomes = asyncio.run(main())
    assert [spec.label for spec in begun] == ["first"]
    assert [outcome.error for outcome in outcomes] == ["stopped", "stopped"]


def test_a_replica_that_was_leaving_when_its_rollout_was_cancelled_is_still_known(tmp_path: Path, web: Web) -> None:
    """It was ended by the death of the supervisor, a second signal that cut its requests."""

    async def main() -> bool:
        service = Service(tmp_path, Children())
        leaving = replica(tmp_path, web(), service._children)
        stopping = asyncio.Event()

        async def stop() -> None:
            stopping.set()
            await asyncio.Event().wait()

        leaving.stop = stop  # type: ignore[method-assign]
        retiring = asyncio.create_task(service._retire(leaving))
        await stopping.wait()
        retiring.cancel()
        await asyncio.wait([retiring])
        return leaving in service._everyone()

    assert asyncio.run(main())


@pytest.mark.parametrize("turns", range(4))
def test_whoever_stops_a_replica_can_be_cancelled(tmp_path: Path, web: Web, turns: int) -> None:
    """The watcher's cancellation was taken for that of its waiter, so that a cancelled rollout went on."""

    async def main() -> bool:
        stopped = replica(tmp_path, web(), Children())
        watching = asyncio.Event()

        async def watch() -> None:
            watching.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)

        stopped._watcher = asyncio.create_task(watch())
        await watching.wait()
        stopping = asyncio.create_task(stopped.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait([stopping])
        return stopping.cancelled()

    assert asyncio.run(main())


def test_a_replica_for_which_there_is_no_folder_has_failed_to_start(tmp_path: Path, web: Web) -> None:
    """Another error ended its watcher, and nobody started it again."""
    (tmp_path / "run").write_text("a file")

    async def main() -> None:
        await replica(tmp_path, web(), Children()).start()

    with pytest.raises(StartFailed, match="cannot run"):
        asyncio.run(main())


def test_a_log_that_cannot_begin_a_new_file_goes_on_in_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "log", limit=20)
    log.write("web", b"first")

    def no_more(*_: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_more)
        log.write("web", b"second, which is long")
        log.write("web", b"third")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    log.write("web", b"fourth")
    assert (tmp_path / "log.1").read_text() == "[web] first\n[web] second, which is long\n[web] third\n"
    assert (tmp_path / "log").read_text() == "[web] fourth\n"
