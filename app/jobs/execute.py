"""The name under which RQ finds the function of our jobs (app.queue.wakeups.FUNCTION).

Workers of other versions read it in Redis, during every deployment: one that finds another name takes the job for
somebody else's. So it stays where it was.
"""

from app.queue.execute import execute

__all__ = ["execute"]
