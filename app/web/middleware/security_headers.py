"""Security headers: an API that is never a page, and the one page that there is."""

from __future__ import annotations

from secure import (
    ContentSecurityPolicy,
    CrossOriginOpenerPolicy,
    CrossOriginResourcePolicy,
    ReferrerPolicy,
    Secure,
    StrictTransportSecurity,
    XContentTypeOptions,
    XFrameOptions,
)
from secure.middleware import SecureASGIMiddleware
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCS_PATH = "/docs"


class SecurityHeadersMiddleware:
    """Adds the headers to every answer, those of errors included."""

    def __init__(self, app: ASGIApp) -> None:
        api = ContentSecurityPolicy().default_src("'none'").frame_ancestors("'none'")
        # Swagger UI sets inline styles and shows its icons as data URLs; scripts come from here alone.
        docs = (
            ContentSecurityPolicy()
            .default_src("'none'")
            .script_src("'self'")
            .style_src("'self'", "'unsafe-inline'")
            .img_src("'self'", "data:")
            .connect_src("'self'")
            .frame_ancestors("'none'")
        )
        uncached = _Uncached(app)
        self._api = SecureASGIMiddleware(uncached, secure=_headers(api), multi_ok=())
        self._docs = SecureASGIMiddleware(uncached, secure=_headers(docs), multi_ok=())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = scope["type"] == "http" and scope["path"].startswith(DOCS_PATH)
        await (self._docs if page else self._api)(scope, receive, send)  # type: ignore[arg-type]


class _Uncached:
    """`no-store` for every answer that says nothing else itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, marked)


def _headers(policy: ContentSecurityPolicy) -> Secure:
    return Secure(
        coop=CrossOriginOpenerPolicy().same_origin(),
        corp=CrossOriginResourcePolicy().same_origin(),
        csp=policy,
        hsts=StrictTransportSecurity().max_age(31_536_000).include_subdomains(),
        referrer=ReferrerPolicy().no_referrer(),
        xcto=XContentTypeOptions().nosniff(),
        xfo=XFrameOptions().deny(),
    )
