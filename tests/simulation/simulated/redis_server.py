"""The Redis of the simulation: the commands that RQ and the queue use, on the virtual clock. Scripts run as Lua.

The scripts are the program's own, so that nothing has to be kept like them; `test_conformance` holds the commands
against a real server.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

Value = bytes | list[bytes] | dict[bytes, Any]


class Refused(Exception):
    """The server's error answer."""


class Zset(dict[bytes, float]):
    def sorted(self) -> list[bytes]:
        return sorted(self, key=lambda member: (self[member], member))


class Hash(dict[bytes, bytes]):
    pass


class Members(dict[bytes, None]):
    """A set, in the order in which its members came."""


class Stream(list[Any]):
    pass


def encoded(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case bool() | None:
            raise TypeError(value)
        case float() if value.is_integer() and abs(value) < 1e17:
            return str(int(value)).encode()
        case float():
            return f"{value:.17g}".encode()
        case _:
            return str(value).encode()


def number(value: float) -> bytes:
    if value in (float("inf"), float("-inf")):
        return b"inf" if value > 0 else b"-inf"
    return str(int(value)).encode() if value.is_integer() and abs(value) < 1e17 else f"{value:.17g}".encode()


class RedisServer:
    """`clock`: seconds since 1970. All at once: nothing comes between two commands of a script."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.data: dict[bytes, Value] = {}
        self._expiry: dict[bytes, float] = {}
        self._scripts: dict[bytes, bytes] = {}
        self.pushed: Callable[[bytes], None] = lambda _: None
        """Called with the key of a list that has got an entry."""
        self._ids = 0

    def call(self, name: str, *args: Any) -> Any:
        words = name.upper().split()
        method = getattr(self, "_" + "_".join(words).lower(), None)
        if method is None:
            raise NotImplementedError(f"the simulated Redis has no {name}: add it, and to its conformance test")
        return method(*map(encoded, args))

    def empty(self) -> None:
        """As after a restart without its data."""
        self.data.clear()
        self._expiry.clear()
        self._scripts.clear()

    # -- keys

    def value(self, name: Any) -> Any:
        """A copy of what stands there, for who watches the key."""
        return copy.copy(self._find(encoded(name), object))

    def _find(self, key: bytes, kind: type[Any]) -> Any:
        if (until := self._expiry.get(key)) is not None and until <= self.clock():
            self.data.pop(key, None)
            del self._expiry[key]
        value = self.data.get(key)
        if value is not None and not isinstance(value, kind):
            raise Refused("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def _make(self, key: bytes, kind: type[Any]) -> Any:
        value = self._find(key, kind)
        if value is None:
            value = self.data[key] = kind()
        return value

    def _tidy(self, key: bytes) -> None:
        if not self.data.get(key):
            self.data.pop(key, None)
            self._expiry.pop(key, None)

    def _ping(self) -> bytes:
        return b"PONG"

    def _exists(self, *keys: bytes) -> int:
        return sum(self._find(key, object) is not None for key in keys)

    def _del(self, *keys: bytes) -> int:
        count = 0
        for key in keys:
            count += self._find(key, object) is not None
            self.data.pop(key, None)
            self._expiry.pop(key, None)
        return count

    _unlink = _del

    def _expire(self, key: bytes, seconds: bytes, *_: bytes) -> int:
        if self._find(key, object) is None:
            return 0
        if float(seconds) <= 0:
            return self._del(key)
        self._expiry[key] = self.clock() + int(seconds)
        return 1

    def _persist(self, key: bytes) -> int:
        return int(self._find(key, object) is not None and self._expiry.pop(key, None) is not None)

    def _ttl(self, key: bytes) -> int:
        if self._find(key, object) is None:
            return -2
        return round(self._expiry[key] - self.clock()) if key in self._expiry else -1

    # -- strings

    def _get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._find(key, bytes)
        return found

    def _set(self, key: bytes, value: bytes, *options: bytes) -> bytes | None:
        words = [option.upper() for option in options]
        if b"NX" in words and self._find(key, object) is not None:
            return None
        self.data[key] = value
        self._expiry.pop(key, None)
        if b"EX" in words:
            self._expiry[key] = self.clock() + int(options[words.index(b"EX") + 1])
        return b"OK"

    # -- hashes

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        value = self._make(key, Hash)
        before = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(value) - before

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        return (self._find(key, Hash) or {}).get(field)

    def _hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        value = self._find(key, Hash) or {}
        return [value.get(field) for field in fields]

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in (self._find(key, Hash) or {}).items() for part in pair]

    def _hexists(self, key: bytes, field: bytes) -> int:
        return int(field in (self._find(key, Hash) or {}))

    def _hdel(self, key: bytes, *fields: bytes) -> int:
        value = self._find(key, Hash) or {}
        count = sum(value.pop(field, None) is not None for field in fields)
        self._tidy(key)
        return count

    def _hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        value = self._make(key, Hash)
        result = int(value.get(field, b"0")) + int(by)
        value[field] = str(result).encode()
        return result

    def _hincrbyfloat(self, key: bytes, field: bytes, by: bytes) -> bytes:
        value = self._make(key, Hash)
        value[field] = number(round(float(value.get(field, b"0")) + float(by), 12))
        return bytes(value[field])

    # -- lists

    def _lpush(self, key: bytes, *items: bytes) -> int:
        value = self._make(key, list)
        for item in items:
            value.insert(0, item)
        self.pushed(key)
        return len(value)

    def _rpush(self, key: bytes, *items: bytes) -> int:
        value = self._make(key, list)
        value.extend(items)
        self.pushed(key)
        return len(value)

    def _lpop(self, key: bytes) -> bytes | None:
        value = self._find(key, list)
        if not value:
            return None
        item: bytes = value.pop(0)
        self._tidy(key)
        return item

    def _lmove(self, source: bytes, target: bytes, where: bytes, to: bytes) -> bytes | None:
        value = self._find(source, list)
        if not value:
            return None
        item: bytes = value.pop(0 if where.upper() == b"LEFT" else -1)
        target_list = self._make(target, list)
        target_list.insert(0 if to.upper() == b"LEFT" else len(target_list), item)
        self._tidy(source)
        self.pushed(target)
        return item

    def _llen(self, key: bytes) -> int:
        return len(self._find(key, list) or ())

    def _lrange(self, key: bytes, first: bytes, last: bytes) -> list[bytes]:
        value = self._find(key, list) or []
        end = int(last) + 1
        return list(value[int(first) : end if end else None])

    def _lrem(self, key: bytes, count: bytes, item: bytes) -> int:
        value = self._find(key, list) or []
        found = [index for index, one in enumerate(value) if one == item]
        if int(count):
            found = found[: int(count)]
        for index in reversed(found):
            del value[index]
        self._tidy(key)
        return len(found)

    # -- sets

    def _sadd(self, key: bytes, *members: bytes) -> int:
        value = self._make(key, Members)
        before = len(value)
        value.update(dict.fromkeys(members))
        return len(value) - before

    def _srem(self, key: bytes, *members: bytes) -> int:
        value = self._find(key, Members) or {}
        count = 0
        for member in members:
            count += member in value
            value.pop(member, None)
        self._tidy(key)
        return count

    def _smembers(self, key: bytes) -> list[bytes]:
        return list(self._find(key, Members) or ())

    def _scard(self, key: bytes) -> int:
        return len(self._find(key, Members) or ())

    # -- sorted sets

    def _zadd(self, key: bytes, *args: bytes) -> int:
        options = []
        while args and args[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"):
            options.append(args[0].upper())
            args = args[1:]
        value = self._find(key, Zset)
        if value is None:
            if b"XX" in options:
                return 0
            value = self._make(key, Zset)
        added = changed = 0
        for score, member in zip(args[::2], args[1::2], strict=True):
            old, new = value.get(member), float(score)
            if (old is None and b"XX" in options) or (old is not None and b"NX" in options):
                continue
            if old is not None and ((b"GT" in options and new <= old) or (b"LT" in options and new >= old)):
                continue
            added += old is None
            changed += old is not None and old != new
            value[member] = new
        self._tidy(key)
        return added + changed if b"CH" in options else added

    def _zrem(self, key: bytes, *members: bytes) -> int:
        value = self._find(key, Zset) or {}
        count = sum(value.pop(member, None) is not None for member in members)
        self._tidy(key)
        return count

    def _zcard(self, key: bytes) -> int:
        return len(self._find(key, Zset) or ())

    def _zscore(self, key: bytes, member: bytes) -> bytes | None:
        score = (self._find(key, Zset) or {}).get(member)
        return None if score is None else number(score)

    def _within(self, key: bytes, low: bytes, high: bytes) -> list[bytes]:
        value = self._find(key, Zset) or Zset()

        def bound(text: bytes) -> tuple[float, bool]:
            return (float(text[1:]), True) if text.startswith(b"(") else (float(text), False)

        (least, above), (most, below) = bound(low), bound(high)
        return [
            member
            for member in value.sorted()
            if (value[member] > least if above else value[member] >= least)
            and (value[member] < most if below else value[member] <= most)
        ]

    def _zcount(self, key: bytes, low: bytes, high: bytes) -> int:
        return len(self._within(key, low, high))

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> list[bytes]:
        found = self._within(key, low, high)
        words = [option.upper() for option in options]
        if b"LIMIT" in words:
            first, count = (int(word) for word in words[words.index(b"LIMIT") + 1 :][:2])
            found = found[first : first + count] if count >= 0 else found[first:]
        return self._scored(key, found) if b"WITHSCORES" in words else found

    def _zrange(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> list[bytes]:
        words = [option.upper() for option in options]
        if b"BYSCORE" in words:
            return self._zrangebyscore(key, low, high, *options)
        found = (self._find(key, Zset) or Zset()).sorted()
        if b"REV" in words:
            found.reverse()
        end = int(high) + 1
        found = found[int(low) : end if end else None]
        return self._scored(key, found) if b"WITHSCORES" in words else found

    def _scored(self, key: bytes, found: list[bytes]) -> list[bytes]:
        value = self._find(key, Zset) or Zset()
        return [part for member in found for part in (member, number(value[member]))]

    def _zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> int:
        found = self._within(key, low, high)
        return self._zrem(key, *found) if found else 0

    def _zremrangebyrank(self, key: bytes, low: bytes, high: bytes) -> int:
        found = self._zrange(key, low, high)
        return self._zrem(key, *found) if found else 0

    # -- streams, as far as RQ's results go

    def _xadd(self, key: bytes, *args: bytes) -> bytes:
        rest = list(args)
        most = None
        if rest[0].upper() == b"MAXLEN":
            rest = [one for one in rest if one not in (b"~", b"=")]
            most, rest = int(rest[1]), rest[2:]
        self._ids += 1
        entry = b"%d-%d" % (int(self.clock() * 1000), self._ids)
        stream = self._make(key, Stream)
        stream.append((entry, rest[1:]))
        if most is not None:
            del stream[:-most]
        return entry

    # -- scripts and the server itself

    def _script_load(self, source: bytes) -> bytes:
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        self._scripts[sha] = source
        return sha

    def _evalsha(self, sha: bytes, count: bytes, *args: bytes) -> Any:
        source = self._scripts.get(sha)
        if source is None:
            raise Refused("NOSCRIPT No matching script. Please use EVAL.")
        keys, rest = args[: int(count)], args[int(count) :]
        return _lua(source)(self, keys, rest)

    def _publish(self, *_: bytes) -> int:
        return 0

    def _info(self, *_: bytes) -> bytes:
        return b"redis_version:7.2.0\r\ncluster_enabled:0\r\nmaxmemory_policy:noeviction\r\n"

    def _client_setname(self, *_: bytes) -> bytes:
        return b"OK"

    def _client_info(self) -> bytes:
        return b"id=1 addr=127.0.0.1:1 name=simulated"


_lua_runtime: Any = None
_compiled: dict[bytes, Callable[[RedisServer, Any, Any], Any]] = {}
_serving: list[RedisServer] = []


def _lua(source: bytes) -> Callable[[RedisServer, Any, Any], Any]:
    global _lua_runtime
    if _lua_runtime is None:
        _lua_runtime = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        _lua_runtime.globals()[b"redis"] = _lua_runtime.table_from({b"call": _redis_call})
    if source not in _compiled:
        function = _lua_runtime.eval(b"function(KEYS, ARGV) " + source + b"\nend")

        def run(server: RedisServer, keys: Any, args: Any) -> Any:
            _serving.append(server)
            try:
                result = function(_lua_runtime.table_from(list(keys)), _lua_runtime.table_from(list(args)))
            finally:
                _serving.pop()
            return _from_lua(result)

        _compiled[source] = run
    return _compiled[source]


def _redis_call(name: bytes, *args: Any) -> Any:
    result = _serving[-1].call(name.decode(), *args)
    if result is None:
        return False
    if isinstance(result, list):
        return _lua_runtime.table_from([False if one is None else one for one in result])
    return result


def _from_lua(value: Any) -> Any:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if lua_type(value) == "table":
        items = []
        index = 1
        while (item := value[index]) is not None:
            items.append(_from_lua(item))
            index += 1
        return items
    return int(value) if isinstance(value, float) else value
