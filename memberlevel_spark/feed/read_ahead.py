"""Let a thread fetch what an iterator gives while the caller computes, and notice when it is stuck.

In: an iterator, how many items may wait, how long the caller waits for one. Out: the same items, in the same order.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from memberlevel_spark.errors import ArtefactError

Item = TypeVar("Item")

_END = object()


class _Raised:
    """An error of the thread, on its way to the caller."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def read_ahead(
    items: Iterator[Item], *, depth: int, timeout_seconds: float, waiting_for: Callable[[], str]
) -> Iterator[Item]:
    """Give the items of an iterator that runs in a thread of its own, ``depth`` of them waiting at most.

    Args:
        items: the iterator.
        depth: how many finished items may wait; one more is being made.
        timeout_seconds: how long the caller waits for one item.
        waiting_for: says, for the error, what the caller was waiting for.

    Raises:
        ArtefactError: no item came in time. The thread is left behind; it ends with the process.
        Exception: whatever the iterator raised.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def fetch() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # raised again where it can be dealt with: in the caller's thread
            put(_Raised(error))

    threading.Thread(target=fetch, daemon=True, name="read-ahead").start()
    try:
        while True:
            try:
                item = waiting.get(timeout=timeout_seconds)
            except queue.Empty:
                raise ArtefactError(
                    f"the reader of the examples is stuck: nothing came for {timeout_seconds:g} s while waiting for"
                    f" {waiting_for()}. Check the disk or store that holds it, and start again."
                ) from None
            if item is _END:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
