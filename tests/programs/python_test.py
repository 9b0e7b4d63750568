#!/usr/bin/python3 -B
"""CPython with PYTHONMALLOC=malloc: every Python object is a block of the library's, not of pymalloc's arenas.

Oracle: output equal to the control's. The script covers the kinds of blocks CPython makes (dict tables, lists that
grow by realloc, strings, big integers, regex, C extensions) and the situations that hurt an allocator: threads that
free what others made, fork with threads alive, pools of forked workers, children by posix_spawn, ctypes.
"""

import harness

kScript = r'''
import array, asyncio, collections, concurrent.futures, ctypes, decimal, gc, hashlib, io, itertools, json, lzma
import multiprocessing, os, pickle, queue, random, re, sqlite3, subprocess, sys, tempfile, threading, zlib

rng = random.Random(20240229)
def digest(value):
    return hashlib.sha256(value if isinstance(value, bytes) else repr(value).encode()).hexdigest()[:16]

def documents(count, seed):
    r = random.Random(seed)
    return [{"id": i, "name": "n%d" % r.randrange(10**6), "tags": ["t%d" % r.randrange(99) for _ in range(r.randrange(9))],
             "nested": {str(k): [r.random(), None, True] for k in range(r.randrange(5))}} for i in range(count)]

def containers():
    table = {}
    for i in range(60000):
        table["key%d" % rng.randrange(20000)] = [i] * rng.randrange(12)
        if i % 3 == 0:
            table.pop("key%d" % rng.randrange(20000), None)
    grown, ring = [], collections.deque(maxlen=500)
    for i in range(100000):
        grown.append(i); ring.append((i, str(i)))
    sets = set(rng.randrange(10**6) for _ in range(50000)) & set(range(0, 10**6, 3))
    buffer = bytearray()
    for i in range(3000):
        buffer += bytes([i & 255]) * (i % 97)
        if i % 50 == 0: del buffer[:100]
    class Node:
        __slots__ = ("next", "payload")
    for i in range(4000):                       # cycles for the collector
        a, b = Node(), Node(); a.next, b.next, a.payload = b, a, "x" * (i % 300)
    gc.collect()
    return digest([sorted(table.items()), len(grown), list(ring), sorted(sets)[:1000], bytes(buffer)])

def text_and_numbers():
    text = json.dumps(documents(3000, 1))
    again = json.dumps(json.loads(text))
    words = re.findall(r'"(n(\d+))"', text)
    changed = re.sub(r"t(\d)(\d)?", lambda m: "<%s>" % m.group(1) * 3, text)
    big = 1
    for i in range(1, 1500): big *= i
    with decimal.localcontext() as context:
        context.prec = 300
        ratio = decimal.Decimal(2).sqrt() ** 7
    blob = pickle.dumps(documents(3000, 2))
    packed, packed2 = zlib.compress(blob, 9), lzma.compress(blob[:200000], preset=3)
    assert again == text and pickle.loads(blob) == documents(3000, 2)
    assert zlib.decompress(packed) == blob and lzma.decompress(packed2) == blob[:200000]
    out = io.StringIO()
    for i in range(20000): out.write("%08d;" % i)
    return digest([text, len(words), changed, str(big), str(ratio), packed, packed2, out.getvalue()])

def threads():
    todo, done = queue.Queue(maxsize=64), queue.Queue()
    def work():
        while (item := todo.get()) is not None:
            done.put((item["id"], digest(json.dumps(item))))     # item made there, freed here
    crew = [threading.Thread(target=work) for _ in range(8)]
    for t in crew: t.start()
    for item in documents(4000, 3): todo.put(item)
    for t in crew: todo.put(None)
    for t in crew: t.join()
    short = []
    for i in range(300):                                          # short-lived threads
        t = threading.Thread(target=lambda i=i: short.append(len([str(i)] * 500))); t.start(); t.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:        # zlib and hashlib release the interpreter lock
        sums = list(pool.map(lambda i: zlib.crc32(zlib.compress(bytes([i & 255]) * 200000)), range(60)))
    return digest([sorted(done.queue), sum(short), sums])

def child(seed):
    return digest(json.dumps(documents(400, seed)))

def processes():
    stop = threading.Event()
    def churn():
        while not stop.is_set(): [bytearray(n) for n in range(0, 3000, 7)]
    noise = [threading.Thread(target=churn) for _ in range(2)]
    for t in noise: t.start()
    codes = []
    for i in range(40):                                           # fork while other threads allocate
        if (pid := os.fork()) == 0:
            os._exit(len(json.dumps(documents(50, i))) % 100)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for t in noise: t.join()
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=10) as pool:
        results = pool.map(child, range(60), chunksize=1)
    inbox, outbox = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=lambda: outbox.send([outbox.recv() * 2 for _ in range(100)]))
    worker.start()
    for i in range(100): inbox.send("m%d" % i)
    answer = inbox.recv(); worker.join()
    lines = [subprocess.run([sys.executable, "-S", "-c", "print(sum(range(%d)))" % i], capture_output=True, check=True).stdout
             for i in range(6)]
    return digest([codes, results, answer, lines])

def extensions():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a integer primary key, b text)")
    base.executemany("insert into t values (?, ?)", ((i, "row %d" % (i * 7919 % 10007)) for i in range(20000)))
    rows = base.execute("select b, count(*), max(a) from t group by substr(b, 1, 6) order by b").fetchall()
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    for size in range(1, 3000, 3):
        block = libc.malloc(size); ctypes.memset(block, 7, size); libc.free(block)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3000)(*(rng.randrange(10**6) for _ in range(3000)))
    libc.qsort(numbers, len(numbers), 4, compare(lambda a, b: a[0] - b[0]))
    return digest([rows, list(numbers), array.array("d", range(10000)).tobytes()])

async def tasks():
    async def one(i):
        await asyncio.sleep(0)
        return [j for j in range(i % 50)]
    async def echo(reader, writer):
        while line := await reader.readline(): writer.write(line.upper())
        writer.close()
    with tempfile.TemporaryDirectory() as directory:
        server = await asyncio.start_unix_server(echo, directory + "/s")
        reader, writer = await asyncio.open_unix_connection(directory + "/s")
        lines = []
        for i in range(500):
            writer.write(b"line %d\n" % i); lines.append(await reader.readline())
        writer.close(); server.close()
    return digest([await asyncio.gather(*(one(i) for i in range(5000))), lines])

if __name__ == "__main__":
    for part in containers, text_and_numbers, threads, processes, extensions: print(part.__name__, part(), flush=True)
    print("tasks", asyncio.run(tasks()))
'''

kSizes = """
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc_usable_size.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
print([c.malloc_usable_size(c.malloc(size)) for size in range(1, 5000, 16)])
"""


def check_served(trial, interpreter):
    """Blocks have the library's sizes. This interpreter is not position-independent and takes the address of malloc,
    so what looks like a malloc of its own is a linkage stub; a library that steps aside for it serves nothing."""
    trial.fresh_run()
    script = trial.write("sizes.py", kSizes)
    if trial.run([interpreter, script], False).out == trial.run([interpreter, script], True).out and not harness.kControl:
        raise harness.Failure("preloaded blocks have the sizes of the C library's malloc: the library stepped aside")


def python(trial):
    interpreter = trial.program("/usr/bin/python3", "python3")
    settings = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    control, warren = trial.same([interpreter, trial.write("script.py", kScript)], env=settings)
    trial.check_witnesses(warren.witnesses, interpreter, at_least=7)
    check_served(trial, interpreter)
    settings["PYTHONMALLOC"] = "malloc_debug"  # CPython's own guard bytes around blocks of the library's
    trial.same([interpreter, "-c", "import json; print(len(json.loads(json.dumps(list(range(50000))))))"], env=settings)


harness.main(python)
