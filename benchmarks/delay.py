# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distance, for kernels without netem: a relay that holds every byte for a while, ``delay.py ADDRESS=SECONDS ...``.

A connection to port 22 of an address goes on to its port 2222, and all it carries takes that many seconds each way. Only the TCP handshake
is not delayed.
Prints a line when all addresses are open.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Move bytes from one end to the other, each *delay* seconds after it came."""
    loop = asyncio.get_running_loop()
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def release() -> None:
        while True:
            due, data = await held.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
        writer.close()

    releasing = asyncio.create_task(release())
    data = b"-"
    while data:
        try:
            data = await reader.read(1 << 18)
        except ConnectionError:
            data = b""
        held.put_nowait((loop.time() + delay, data))
    with suppress(ConnectionError):
        await releasing


async def _listen(address: str, delay: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(address, 2222)
        await asyncio.gather(_carry(reader, far_writer, delay), _carry(far_reader, writer, delay))

    await asyncio.start_server(accept, address, 22)


async def _main() -> None:
    for word in sys.argv[1:]:
        address, seconds = word.split("=")
        await _listen(address, float(seconds))
    print("open", flush=True)
    await asyncio.Event().wait()


asyncio.run(_main())
