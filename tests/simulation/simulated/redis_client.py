"""The program's Redis clients, whose connection is the simulation's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError, NoScriptError, ReadOnlyError, ResponseError, TimeoutError, WatchError
from redis.retry import Retry

from simulated import shims, world
from simulated.redis_server import Refused

_SOCKET_TIMEOUT = 5.0


class Ordered(set[Any]):
    """Members in one order, whatever the hash of a text is in this process."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__()))


class SimulatedRedis(Redis):
    """Everything above the connection is redis-py's: answers are parsed and commands repeated as it does."""

    sim_retry: Retry

    @classmethod
    def from_url(cls, url: str, **options: Any) -> SimulatedRedis:
        client = super().from_url(url, protocol=2, **options)
        client.sim_retry = options["retry"]
        client.sim_retry.update_supported_errors(options.get("retry_on_error", []))
        client.response_callbacks["SMEMBERS"] = Ordered
        return client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        answer = self.sim_retry.call_with_retry(lambda: self.converse([args])[0], lambda _: None)
        return self.parsed(answer, args, options)

    def parsed(self, answer: Any, args: Any, options: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        callback = self.response_callbacks.get(args[0])
        known = {name: value for name, value in options.items() if name != "keys"}
        return callback(answer, **known) if callback else answer

    def converse(self, commands: list[Any], *, seen: dict[Any, Any] | None = None) -> list[Any]:
        """Send the commands and wait for their answers: those of a pipeline happen together. `seen`: watched keys, and
        what they were."""
        server = world.current().redis

        def perform() -> list[Any]:
            if any(server.value(name) != value for name, value in (seen or {}).items()):
                return [WatchError("Watched variable changed.")] * len(commands)
            return [_performed(server, args) for args in commands]

        name = str(commands[0][0])
        if name == "BLMOVE":
            return [_wait_for_entry(commands[0])]
        return list(ask("redis", _label(commands), perform))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> SimulatedPipeline:
        return SimulatedPipeline(self, transaction)

    def pubsub(self, **_: Any) -> Any:
        return _NoCommands()

    def close(self) -> None:
        pass


class SimulatedPipeline(Pipeline):
    def __init__(self, client: SimulatedRedis, transaction: bool) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._sim_client = client
        self.reset()

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, client, seen = list(self.command_stack), self._sim_client, self._seen
        self.reset()
        if not stack:
            return []
        answers = client.sim_retry.call_with_retry(
            lambda: client.converse([args for args, _ in stack], seen=seen), lambda _: None
        )
        return [client.parsed(answer, args, options) for answer, (args, options) in zip(answers, stack, strict=True)]

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        return self._sim_client.execute_command(*args, **options)

    def watch(self, *names: Any) -> bool:
        server = world.current().redis
        self.watching = True
        ask("redis", "WATCH", lambda: self._seen.update({name: server.value(name) for name in names}))
        return True

    def reset(self) -> None:
        self._seen: dict[Any, Any] = {}
        self.command_stack = []
        self.scripts = set()
        self.watching = self.explicit_transaction = False


def _performed(server: Any, args: Any) -> Any:
    try:
        return server.call(*args)
    except (NotImplementedError, TypeError, ValueError) as unknown:
        world.current().violation(f"{args[0]}: {unknown}")
        raise
    except Refused as refused:
        message = str(refused)
        return NoScriptError(message) if message.startswith("NOSCRIPT") else ResponseError(message)


def _label(commands: list[Any]) -> str:
    first = str(commands[0][0])
    if first == "EVALSHA":
        return f"script {world.current().script_name(commands[0][1])}"
    return first if len(commands) == 1 else f"{first} and {len(commands) - 1} more"


def ask(kind: str, label: str, perform: Callable[[], Any]) -> Any:
    """One exchange with the server: the request travels, is done, and its answer travels back; each may be lost."""
    here = world.current()
    scheduler = here.scheduler
    task = scheduler.alive()
    plan, rng = here.plan, scheduler.rng
    if not here.redis_up:
        scheduler.sleep(rng.random() * 0.05)
        raise ConnectionError("the simulated Redis is away")
    fault = plan.draw(kind, label, task.process)
    if fault == "refused":
        scheduler.sleep(rng.random() * 0.01)
        raise ConnectionError("the connection broke before the request")
    state: dict[str, Any] = {}

    def arrive() -> None:
        if not here.redis_up:
            state["error"] = ConnectionError("the simulated Redis is away")
        elif here.redis_read_only and label not in ("PING", "INFO"):
            state["error"] = ReadOnlyError("You can't write against a read only replica.")
        else:
            state["answer"] = perform()
            scheduler.note(f"redis {label} for {task.label}")
        if fault != "lost" and fault != "late":
            scheduler.call_later(plan.latency(rng), lambda: scheduler.wake(task))

    delay = plan.latency(rng)
    if fault == "late":
        # The client gives up first.
        delay += rng.uniform(0.05, 2.0)
    scheduler.call_later(delay, arrive)
    if fault == "late":
        scheduler.sleep(rng.random() * 0.05)
        raise TimeoutError("Timeout reading from socket")
    if fault == "lost":
        scheduler.sleep(delay + rng.choice([0.001, 0.05, _SOCKET_TIMEOUT]))
        raise rng.choice([ConnectionError, TimeoutError])("the answer was lost")
    if not scheduler.wait(_SOCKET_TIMEOUT):
        raise TimeoutError("Timeout reading from socket")
    if "error" in state:
        raise state["error"]
    return state["answer"]


def _wait_for_entry(args: Any) -> Any:
    """BLMOVE: whoever waits longest gets the entry."""
    here = world.current()
    _, source, target, where, to, timeout = args
    process = here.scheduler.alive().process
    found = ask("redis", "BLMOVE", lambda: here.redis.call("LMOVE", source, target, where, to))
    if found is not None:
        return found
    end = here.scheduler.now + float(timeout)
    while here.scheduler.now < end and here.redis_up and not process.dead:
        if here.wait_for_push(str(source), end - here.scheduler.now):
            found = here.redis.call("LMOVE", source, target, where, to)
            if found is not None:
                return found
    if not here.redis_up:
        raise ConnectionError("the simulated Redis is away")
    return None


class _NoCommands:
    """Where RQ listens for commands from operators: there are none."""

    def subscribe(self, **_: Any) -> None:
        pass

    def unsubscribe(self) -> None:
        pass

    def close(self) -> None:
        pass

    def run_in_thread(self, **_: Any) -> _NoCommands:
        return self

    def stop(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        pass

    def is_alive(self) -> bool:
        return True


__all__ = ["SimulatedRedis", "shims"]
