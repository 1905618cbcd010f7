"""Against guessing passwords: failed logins are counted in Redis, for all replicas.

Three moving windows of the same length. The strict one is of an account *from one network*: guessing locks out
no other network. The two wider ones stop what spreads: one account tried from many networks, and many
accounts tried from one. They do not hold for a network from which the account has logged in before, so that no stranger
elsewhere can keep its owner out.

Accounts are counted by the address that was given, whether or not it exists, so that a refusal does not show it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from app.errors import TooManyRequests
from app.observability.logging import get_logger
from app.settings import Settings
from app.web.fail_open import FailOpen

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

PER_ACCOUNT: Final = 5
"""How many times the limit of a pair an account has from all unknown networks: at the defaults 25 in 15 minutes, which
is the 100 an hour that OWASP's verification standard (ASVS 4.0, 2.2.1) allows at most."""
PER_NETWORK: Final = 20
"""The same for all accounts from one network: an office behind one address has many people who mistype."""

_BUDGET_SECONDS: Final = 1.0
"""More than the rate limit has, and no pause after it: a burst of logins keeps this process so busy that Redis seems
slow, and must not open the guard for those that follow."""

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A login that is about to be checked."""

    account: str
    """Not the address itself, which would put personal data and any character into a key."""
    network: str

    @classmethod
    def of(cls, *, email: str, network: str) -> Self:
        return cls(account=hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest()[:32], network=network)


class LoginGuard:
    """Without Redis every attempt is admitted, and `skipped` counts what was not looked up or not counted."""

    def __init__(self, pool: ConnectionPool, *, failures: int, window_seconds: int, remember_seconds: int) -> None:
        """`remember_seconds` is how long a network stays known after a login."""
        storage = RedisStorage("async+redis://", implementation="redispy", connection_pool=pool)  # type: ignore[arg-type]
        self._strategy = MovingWindowRateLimiter(storage)
        self._pair = RateLimitItemPerSecond(failures, window_seconds, namespace="slipway-login-pair")
        self._account = RateLimitItemPerSecond(
            failures * PER_ACCOUNT, window_seconds, namespace="slipway-login-account"
        )
        self._network = RateLimitItemPerSecond(
            failures * PER_NETWORK, window_seconds, namespace="slipway-login-network"
        )
        self._remember_seconds = remember_seconds
        self._client = Redis(connection_pool=pool)
        self._redis = FailOpen("login guard", budget=_BUDGET_SECONDS, pause=0)
        self.refused = 0

    @classmethod
    def of(cls, settings: Settings, pool: ConnectionPool) -> Self:
        return cls(
            pool,
            failures=settings.login_failures_max,
            window_seconds=max(1, round(settings.login_failures_window / 1000)),
            remember_seconds=settings.jwt_refresh_expires_in,
        )

    @property
    def skipped(self) -> int:
        return self._redis.skipped

    async def admit(self, attempt: Attempt) -> None:
        """Raises TooManyRequests. The attempt counts as failed until `succeeded`: many at once would all be admitted
        if each counted only once its password was checked."""
        wait = await self._redis.ask(lambda: self._reserve(attempt))
        if wait:
            self.refused += 1
            log.warning("login refused", wait_seconds=wait)
            raise TooManyRequests(f"too many failed logins, try again in {wait} s", headers={"Retry-After": str(wait)})

    async def failed(self, attempt: Attempt) -> None:
        async def count() -> None:
            await self._strategy.hit(self._account, attempt.account)
            await self._strategy.hit(self._network, attempt.network)

        await self._redis.ask(count)

    async def succeeded(self, attempt: Attempt) -> None:
        async def forgive() -> None:
            await self._strategy.clear(self._pair, attempt.account, attempt.network)
            await self._client.set(_known(attempt), "1", ex=self._remember_seconds)

        await self._redis.ask(forgive)

    async def _reserve(self, attempt: Attempt) -> int:
        """Seconds to wait; 0 when the attempt may be made, which is then counted."""
        if not await self._client.exists(_known(attempt)):
            for window, key in ((self._account, attempt.account), (self._network, attempt.network)):
                if not await self._strategy.test(window, key):
                    return await self._opens_in(window, key)
        if not await self._strategy.hit(self._pair, attempt.account, attempt.network):
            return await self._opens_in(self._pair, attempt.account, attempt.network)
        return 0

    async def _opens_in(self, window: RateLimitItem, *key: str) -> int:
        stats = await self._strategy.get_window_stats(window, *key)
        return max(1, round(stats.reset_time - time.time()))


def _known(attempt: Attempt) -> str:
    return f"slipway:login:known:{attempt.account}:{attempt.network}"
