// Storage nodes that were away, that lost their disk, or whose disk lies: they come back by themselves and hold
// everything again. What a node holds is read from it alone, while all others are down.
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const STORAGE = ['storage-1', 'storage-2', 'storage-3'];
const BATCH = 500;

let cluster;
let written = 0;
const test = (what, body) => check(() => cluster, what, body);

async function writeBatch(c) {
  const rows = Array.from({ length: BATCH }, (_, n) => ({ id: `doc-${written + n}`, n: written + n, text: 'x'.repeat(200) }));
  const answer = await c.insist('POST', '/kept', { body: rows, headers: { 'Idempotency-Key': `batch-${written}` } });
  assert.ok(answer.json.every((item) => item.status === 201), answer.text.slice(0, 300));
  written += BATCH;
}

function healthy(c, name) {
  return until(`${name} is healthy`, 40000, async () => (await c.node(name)).health === 'healthy');
}

/** A node that was killed and is back counts as what it was until the coordinator has heard of it. */
function renewed(c, name, incarnation) {
  return until(`${name} has a new incarnation`, 40000, async () => (await c.node(name)).incarnation !== incarnation);
}

function store(c, name) {
  return join(c.dir, 'data', name, 'store');
}

function setAside(c, name) {
  return readdirSync(join(c.dir, 'data', name)).filter((entry) => entry.startsWith('store.aside-'));
}

/** Reads everything from this node while no other storage node runs, then brings the others back. */
async function holdsEverything(c, name) {
  const others = STORAGE.filter((other) => other !== name);
  await until(`${name} has applied everything`, 20000, async () => (await c.metric(name, 'parley_documents')) === written);
  for (const other of others) c.killNow(other);
  const rows = [];
  for (let cursor = ''; cursor !== undefined;) {
    const path = `/kept?consistency=any&limit=1000&cursor=${encodeURIComponent(cursor)}`;
    const page = await c.insist('GET', path);
    rows.push(...page.json);
    cursor = page.headers['x-parley-cursor'];
  }
  assert.equal(rows.length, written);
  assert.ok(rows.every((row) => row.id === `doc-${row.n}` && row.text.length === 200));
  const single = await c.insist('GET', `/kept/doc-${written - 1}?consistency=any`);
  assert.equal(single.json.n, written - 1);
  await c.dev('restart', ...others);
  for (const other of STORAGE) await healthy(c, other);
}

/** Turns over some bytes in the middle of a file. */
function damage(file) {
  const size = statSync(file).size;
  const at = Math.floor(size / 2);
  const bytes = Buffer.alloc(Math.min(64, size - at));
  const fd = openSync(file, 'r+');
  readSync(fd, bytes, 0, bytes.length, at);
  writeSync(fd, bytes.map((byte) => byte ^ 0xff), 0, bytes.length, at);
  closeSync(fd);
}

function greatest(folder, suffix) {
  const files = readdirSync(folder).filter((name) => name.endsWith(suffix)).map((name) => join(folder, name));
  return files.sort((a, b) => statSync(b).size - statSync(a).size)[0];
}

describe('rebuilding', () => {
  before(async () => {
    cluster = await startCluster('rebuild');
    await cluster.collection('kept');
    await writeBatch(cluster);
  });
  after(() => cluster?.down());

  test('a node that was away catches up', async (c) => {
    c.killNow('storage-3');
    const before = (await c.node('storage-3')).incarnation;
    await writeBatch(c);
    await c.dev('restart', 'storage-3');
    await healthy(c, 'storage-3');
    assert.equal((await c.node('storage-3')).incarnation, before, 'the same data go on');
    await holdsEverything(c, 'storage-3');
  });

  test('a node that was paused for longer than its lease catches up', async (c) => {
    await c.dev('pause', 'storage-1');
    await writeBatch(c);
    await c.dev('resume', 'storage-1');
    await healthy(c, 'storage-1');
    await holdsEverything(c, 'storage-1');
  });

  test('a node whose disk was wiped is rebuilt under a new incarnation', async (c) => {
    const { incarnation, boot } = await c.node('storage-2');
    assert.ok(boot > 0);
    c.killNow('storage-2');
    rmSync(join(c.dir, 'data/storage-2'), { recursive: true });
    await writeBatch(c);
    await c.dev('restart', 'storage-2');
    await healthy(c, 'storage-2');
    assert.notEqual((await c.node('storage-2')).incarnation, incarnation);
    await holdsEverything(c, 'storage-2');
  });

  /** Stops the node, damages its greatest file of a kind, writes on and starts it again; the file's name is returned. */
  async function damageGreatest(c, name, suffix, t) {
    c.killNow(name);
    const file = greatest(store(c, name), suffix);
    assert.ok(file, `there is a ${suffix} file`);
    t.diagnostic(`${basename(file)}: ${statSync(file).size} bytes`);
    damage(file);
    await writeBatch(c);
    await c.dev('restart', name);
    return basename(file);
  }

  function checkKept(c, name, file) {
    const kept = setAside(c, name);
    assert.equal(kept.length, 1, 'the damaged store is kept aside');
    assert.ok(existsSync(join(c.dir, 'data', name, kept[0], file)));
    assert.match(c.log(name), /event=data_set_aside .*reason=.*Corruption/);
  }

  test('a damaged log is seen at once: set aside, kept, rebuilt', async (c, t) => {
    await writeBatch(c);
    const { incarnation } = await c.node('storage-1');
    const file = await damageGreatest(c, 'storage-1', '.log', t);
    await renewed(c, 'storage-1', incarnation);
    await healthy(c, 'storage-1');
    checkKept(c, 'storage-1', file);
    await holdsEverything(c, 'storage-1');
  });

  test('a damaged table is seen when it is read: nothing false is told, set aside, kept, rebuilt', async (c, t) => {
    // A start writes the log of the last run into a table, so there is one to damage.
    await c.dev('restart', 'storage-3');
    await healthy(c, 'storage-3');
    const { incarnation } = await c.node('storage-3');
    const file = await damageGreatest(c, 'storage-3', '.sst', t);
    let asked = 0;
    await until('a new incarnation', 30000, async () => {
      const id = `doc-${asked++ % written}`;
      const one = await c.get(`/kept/${id}?consistency=any`);
      assert.ok(one.status === 503 || one.json.id === id, `${id} was acknowledged, and then: ${one.status} ${one.text}`);
      return asked % 20 === 0 && (await c.node('storage-3')).incarnation !== incarnation;
    }, 1);
    t.diagnostic(`seen after ${asked} reads`);
    await healthy(c, 'storage-3');
    checkKept(c, 'storage-3', file);
    await holdsEverything(c, 'storage-3');
  });

  test('a copy put back from before is noticed and rebuilt', async (c) => {
    const { incarnation } = await c.node('storage-2');
    const copy = `${store(c, 'storage-2')}.old`;
    c.killNow('storage-2');
    await c.copy(store(c, 'storage-2'), copy);
    await c.dev('restart', 'storage-2'); // a single start: the copy will count as many
    await healthy(c, 'storage-2');
    await writeBatch(c);
    c.killNow('storage-2');
    rmSync(store(c, 'storage-2'), { recursive: true });
    await c.copy(copy, store(c, 'storage-2'));
    await c.dev('restart', 'storage-2');
    await renewed(c, 'storage-2', incarnation);
    await healthy(c, 'storage-2');
    await holdsEverything(c, 'storage-2');
  });
});
