"""Images read ahead by threads: in order, in chunks, and never more than a few at a time."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import Empty, Full, Queue

from segcli.engine.prediction.huge import Huge
from segcli.engine.prediction.streams import Item
from segcli.errors import DataError
from segcli.io.images import Pixels

Image = Pixels | Huge
Chunk = list[tuple[Item, Image | DataError]]
"""Items, and the image of each or why there is none."""

_Waiting = list[tuple[Item, "Future[Image]"]]
_POLL = 0.1  # seconds until a thread that waits looks whether it is still needed


@contextmanager
def read_ahead(
    items: Iterable[Item], size: int, workers: int, done: Callable[[Item], bool], read: Callable[[Item], Image]
) -> Iterator[Iterator[Chunk | None]]:
    """Gives the items in chunks of a size, read.

    A chunk is a function of the items' places alone: one that is done in part is given whole, so that an image is
    always computed in the same company.

    Args:
        items: walked by a thread of its own.
        size: items a chunk.
        workers: threads that read.
        done: tells items that need not be read again; a chunk of such items alone is left out.
        read: reads an item.

    Yields:
        An iterator over chunks; None tells that the next one will take a while. It raises what walking the items does.
    """
    stopped = threading.Event()
    waiting: Queue[_Waiting | BaseException | None] = Queue(max(2 * workers // size, 2))

    def put(value: _Waiting | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(value, timeout=_POLL)
                return
            except Full:
                continue

    def feed() -> None:
        try:
            walk = iter(items)
            while not stopped.is_set() and (chunk := list(islice(walk, size))):
                if not all(map(done, chunk)):
                    put([(item, readers.submit(read, item)) for item in chunk])
            put(None)
        except BaseException as error:  # raised again where the chunks are taken
            put(error)

    with ThreadPoolExecutor(workers, "reading") as readers:
        feeder = threading.Thread(target=feed, name="listing", daemon=True)
        feeder.start()
        try:
            yield _chunks(waiting)
        finally:
            stopped.set()
            feeder.join(2 * _POLL)  # it may wait for a line or a frame that never comes
            readers.shutdown(cancel_futures=True)


def _chunks(waiting: "Queue[_Waiting | BaseException | None]") -> Iterator[Chunk | None]:
    while True:
        try:
            chunk = waiting.get_nowait()
        except Empty:
            yield None
            chunk = waiting.get()
        if chunk is None:
            return
        if isinstance(chunk, BaseException):
            raise chunk
        yield [(item, _result(image)) for item, image in chunk]


def _result(image: "Future[Image]") -> Image | DataError:
    try:
        return image.result()
    except DataError as error:
        return error
