"""Pure ASGI middleware, one idea a module: Starlette's BaseHTTPMiddleware breaks context variables and costs time."""
