"""Ctrl-C: the first one ends the run in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

EXIT_CODE: Final = 130
_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHOW_CURSOR: Final = "\x1b[?25h"


@contextmanager
def graceful_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first interrupt, and end the process on the second.

    Only the main thread receives signals; in any other this does nothing. The second one cannot be left to an
    exception: operations run in threads that nothing can end, and the interpreter would wait for them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(_number: int, _frame: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            # In a thread: the main one may be in the middle of writing, and streams cannot be re-entered.
            threading.Thread(target=stop, name="interrupt").start()
            return
        text = "\nstopped at once: what was under way is noted in the state, and the next `up` takes it up\n"
        end = _SHOW_CURSOR + text if os.isatty(2) else text
        os.write(2, end.encode())
        os._exit(EXIT_CODE)

    # A signal that is ignored stays so: a run under nohup goes on when its terminal closes.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
