"""A key-value server that speaks enough of the Redis protocol: PING, GET, SET, INCR, LPUSH and BRPOP."""

import asyncio
import collections

PORT = 6379
values: dict[bytes, bytes] = {}
lists: dict[bytes, asyncio.Queue] = collections.defaultdict(asyncio.Queue)


async def execute(command: bytes, *words: bytes) -> bytes:
    match command.upper(), *words:
        case (b"PING",):
            return b"+PONG\r\n"
        case b"GET", key:
            return bulk(values.get(key))
        case b"SET", key, value:
            values[key] = value
            return b"+OK\r\n"
        case b"INCR", key:
            values[key] = b"%d" % (int(values.get(key, 0)) + 1)
            return b":%s\r\n" % values[key]
        case b"LPUSH", key, value:
            lists[key].put_nowait(value)
            return b":%d\r\n" % lists[key].qsize()
        case b"BRPOP", key, seconds:
            try:
                value = await asyncio.wait_for(lists[key].get(), float(seconds) or None)
            except TimeoutError:
                return b"*-1\r\n"
            return b"*2\r\n" + bulk(key) + bulk(value)
    return b"-ERR unknown command '%s'\r\n" % command


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(await execute(*await read_command(reader)))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, port=PORT)
    print(f"cache: ready on port {PORT}")
    await server.serve_forever()


asyncio.run(main())
