"""One supervisor process keeps one service running: ``python -m infra.local.supervisor DIRECTORY``.

It is a daemon of its own session, so it outlives the command that started it and the terminal. It holds the service's
listening socket, which replicas inherit, so that connections queued in the kernel are not lost when a replica goes.
Standard library only: a supervisor costs a few megabytes and starts in a tenth of a second.
"""
