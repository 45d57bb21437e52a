// Bits that turn in the tables of a follower that is down: --verify finds them, nobody is ever shown them, and the cluster
// mends the node from the others.
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { BUILD, check, run, startCluster, until } from './lib.mjs';

const DOCUMENTS = 3000;
const BATCH = 500;
const FLIPS = 8;

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const text = (n) => `${n}-`.repeat(60);

/** Turns single bits all over the tables; returns where. */
function flipTables(folder) {
  const tables = readdirSync(folder).filter((name) => name.endsWith('.sst')).map((name) => join(folder, name));
  assert.ok(tables.length > 0, 'there is a table to damage');
  for (const file of tables) {
    const fd = openSync(file, 'r+');
    const byte = Buffer.alloc(1);
    for (let i = 0; i < FLIPS; i++) {
      const at = Math.floor(((i + 0.5) / FLIPS) * statSync(file).size);
      readSync(fd, byte, 0, 1, at);
      byte[0] ^= 1 << (i % 8);
      writeSync(fd, byte, 0, 1, at);
    }
    closeSync(fd);
  }
  return tables;
}

/** As docs/operations.md tells it: without the node's key. */
function verify(c, name) {
  const options = { config: join(c.dir, 'conf', `${name}.yaml`), name, key_file: 'none', data_dir: join(c.dir, 'data', name) };
  return run(join(BUILD, 'parley-storage-node'), [...Object.entries(options).flatMap(([key, value]) => [`--${key}`, value]), '--verify']);
}

function healthy(c, name) {
  return until(`${name} is healthy`, 60000, async () => (await c.node(name)).health === 'healthy');
}

function follower(c) {
  return until('a follower, and all in sync', 30000, async () => {
    const { json } = await c.get('/system.nodes');
    const nodes = json.filter((row) => row.role === 'storage');
    return nodes.every((row) => row.health === 'healthy') && nodes.find((row) => row.leads === 0)?.id;
  });
}

describe('integrity', () => {
  before(async () => {
    cluster = await startCluster('integrity');
    await cluster.collection('kept', { shards: 1 });
    for (let from = 0; from < DOCUMENTS; from += BATCH) {
      const body = Array.from({ length: BATCH }, (_, i) => ({ id: `d-${from + i}`, n: from + i, text: text(from + i) }));
      await cluster.insist('POST', '/kept', { body, headers: { 'Idempotency-Key': `b-${from}` } });
    }
  });
  after(() => cluster?.down());

  test('turned bits in tables: found by --verify, never shown, mended', async (c, t) => {
    const name = await follower(c);
    await c.dev('restart', name); // a start writes the log of the last run into tables
    await healthy(c, name);
    const { incarnation } = await c.node(name);
    c.killNow(name);
    await until('it is down', 5000, async () => (await verify(c, name)).code === 0, 200);
    const tables = flipTables(join(c.dir, 'data', name, 'store'));
    const found = await verify(c, name);
    assert.notEqual(found.code, 0, 'damage is no success');
    assert.match(found.out, /faults=[1-9]|Corruption: |checksum mismatch/);
    t.diagnostic(`${tables.length} tables; ${found.out.trim().split('\n').at(-1).slice(0, 150)}`);

    await c.dev('restart', name);
    for (let n = 0; n < DOCUMENTS; n += 7) {
      const answer = await c.get(`/kept/d-${n}?consistency=any`);
      if (answer.status === 503) continue;
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.json.text, text(n), 'what is shown is what was written');
    }
    await until('it has other data', 60000, async () => (await c.node(name)).incarnation !== incarnation);
    await healthy(c, name);
    await until('it holds everything', 30000, async () => (await c.metric(name, 'parley_documents')) === DOCUMENTS);
    await c.dev('kill', name);
    for (const entry of readdirSync(join(c.dir, 'data', name)))
      if (entry.startsWith('store.aside-')) rmSync(join(c.dir, 'data', name, entry), { recursive: true });
    const mended = await verify(c, name);
    assert.equal(mended.code, 0, mended.out);
    await c.dev('restart', name);
    await healthy(c, name);
  });
});
