"""The redis program of the benchmarks: how the server is started, and the client that loads it.

Used by catalogue.py. redis-benchmark draws its keys by the clock; here every command comes from a seed and goes over
one connection, so the server does the same work in the same order on every allocator, and all of its answers are
compared. Invariant: the commands are made once, before any server runs, so that the client takes little of the machine.
"""

import functools
import hashlib
import random
import socket
import time

CLAIM = ("Claim: a key-value server (redis) under load: strings, lists, hashes, sets; two thirds of the keys deleted,"
         " then values of other sizes. Held constant: the commands, 100 in flight. CPU and memory are the server's.")
SERVER = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no",
          "--daemonize", "no", "--loglevel", "warning", "--activedefrag", "no"]
KEYS = 120_000
PIPELINED = 100
ANSWER_LIMIT_S = 60


def command(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


@functools.cache
def chunks():
    """The whole load as a list of (bytes to send, how the answer to them ends)."""
    draw = random.Random(21)
    text = bytes(draw.randrange(97, 123) for _ in range(4096))
    commands = []
    for key in range(KEYS):
        commands.append(command("SET", f"object:{key}", text[:draw.randrange(16, 256)]))
        kind = key % 4
        if kind == 0:
            commands.append(command("LPUSH", f"list:{key % 500}", text[:draw.randrange(8, 200)]))
        elif kind == 1:
            commands.append(command("HSET", f"hash:{key % 2000}", f"field:{key}", text[:draw.randrange(8, 100)]))
        elif kind == 2:
            commands.append(command("SADD", f"set:{key % 1000}", f"member:{key}"))
        else:
            commands.append(command("GET", f"object:{draw.randrange(KEYS)}"))
    for key in range(KEYS):
        if draw.random() < 2 / 3:
            commands.append(command("DEL", f"object:{key}"))
    for key in range(KEYS, KEYS + KEYS // 3):
        commands.append(command("SET", f"object:{key}", text[:draw.randrange(200, 1000)]))
        commands.append(command("APPEND", f"object:{draw.randrange(KEYS)}", text[:draw.randrange(8, 64)]))
        commands.append(command("RPOP", f"list:{key % 500}"))
        commands.append(command("GET", f"object:{draw.randrange(KEYS)}"))
    for key in range(500):
        commands.append(command("LRANGE", f"list:{key}", 0, 9))
    parts = []
    for i in range(0, len(commands), PIPELINED):
        mark = b"end of chunk %d" % i
        parts.append((b"".join([*commands[i:i + PIPELINED], command("ECHO", mark)]),
                      b"$%d\r\n%s\r\n" % (len(mark), mark)))
    return parts


def answer(connection, mark):
    """Reads up to the answer to the ECHO that ends a chunk."""
    received = b""
    while not received.endswith(mark):
        part = connection.recv(1 << 18)
        if not part:
            raise ConnectionError("redis-server closed the connection")
        received += part
    return received


def connect(path):
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_LIMIT_S)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def drive(directory):
    """Loads the server in `directory`, ends it, and returns a line that says what it answered."""
    load = chunks()
    digest = hashlib.sha256()
    with connect(directory / "redis.sock") as connection:
        for data, mark in load:
            connection.sendall(data)
            digest.update(answer(connection, mark))
        connection.sendall(command("SHUTDOWN", "NOSAVE"))
        connection.recv(1)  # it is over when the server has closed
    return f"operations {len(load) * PIPELINED} checksum {digest.hexdigest()[:16]}\n".encode()
