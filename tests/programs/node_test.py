#!/usr/bin/python3 -B
"""node: V8 with worker threads, zlib on the thread pool, crypto, Buffers handed from thread to thread.

Oracle: output equal to the control's. V8's own heap is mmap'ed, but handles, array buffers, zlib and OpenSSL state,
libuv requests and every worker's isolate are malloc's, and buffers are freed by threads that did not make them.
"""

import harness

kScript = r"""
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto'), zlib = require('zlib'), util = require('util'), fs = require('fs');
const hash = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function payload(seed, size) {
  const buffer = Buffer.allocUnsafe(size);
  let state = seed * 2654435761 >>> 0;
  for (let i = 0; i < size; i++) { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; buffer[i] = (state >>> 24) % 61; }
  return buffer;
}

if (!isMainThread) {
  const out = [];
  for (let i = 0; i < 40; i++) {
    const data = payload(workerData * 100 + i, 20000 + i * 511);
    const packed = zlib.deflateSync(data, { level: 6 });
    if (!zlib.inflateSync(packed).equals(data)) throw new Error('inflate');
    const cipher = crypto.createCipheriv('aes-256-gcm', Buffer.alloc(32, workerData), Buffer.alloc(12, i));
    out.push(hash(Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag(), packed])));
  }
  const gift = payload(workerData, 1 << 20).buffer.slice(0);          // moved to the main thread, freed there
  parentPort.postMessage({ id: workerData, out, gift }, [gift]);
} else {
  const worker = (id) => new Promise((resolve, reject) => {
    const w = new Worker(__filename, { workerData: id });
    let message;
    w.on('message', (m) => { message = m; }).on('error', reject).on('exit', (code) => code ? reject(code) : resolve(message));
  });
  (async () => {
    for (let round = 0; round < 2; round++) {
      const answers = await Promise.all([1, 2, 3, 4].map((i) => worker(round * 4 + i)));
      for (const answer of answers) console.log(answer.id, hash(answer.out.join()), hash(Buffer.from(answer.gift)));
    }
    const gzip = util.promisify(zlib.gzip), scrypt = util.promisify(crypto.scrypt), pool = [];
    for (let i = 0; i < 60; i++) pool.push(gzip(payload(i, 60000), { level: 1 + i % 9 }).then((b) => { b[9] = 3; return hash(b); }));
    for (let i = 0; i < 8; i++) pool.push(scrypt('secret', 'salt' + i, 64, { N: 1024 }).then(hash));
    console.log('pool', hash((await Promise.all(pool)).join()));
    const json = JSON.stringify(Array.from({ length: 20000 }, (_, i) => ({ i, s: 'x'.repeat(i % 40), n: [i, i / 3] })));
    console.log('json', hash(json), JSON.parse(json).length);
    const keep = new Map();
    for (let i = 0; i < 60000; i++) { keep.set('k' + (i * 7919) % 9973, Buffer.alloc(i % 5000, i & 255)); }
    const sum = crypto.createHash('sha256');
    for (const [key, value] of [...keep].sort()) sum.update(key).update(value);
    console.log('buffers', sum.digest('hex'));
    const streamed = crypto.createHash('sha256');
    for await (const chunk of fs.createReadStream(process.execPath, { end: 20e6 })) streamed.update(chunk);
    console.log('stream', streamed.digest('hex'));
    if (global.gc) global.gc();
  })().catch((error) => { console.error(error); process.exit(1); });
}
"""


def node(trial):
    program = trial.program("/usr/bin/node", "nodejs")
    _, warren = trial.same([program, "--expose-gc", trial.write("script.js", kScript)])
    trial.check_witnesses(warren.witnesses, program)


harness.main(node)
