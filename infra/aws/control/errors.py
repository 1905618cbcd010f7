"""What went wrong on AWS, in one message for the person who ran the command."""

from __future__ import annotations


class ControlError(Exception):
    """A task or a rollout that failed, or a call that AWS refused. Its text says why and what to do."""

    user_facing = True
