// Storage nodes come and go while applications write: added, emptied, replaced when they are dead, taken back. Nothing that
// was acknowledged is lost, and writing never pauses for longer than a fail-over.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';
import { Writers } from './writers.mjs';

const SHARDS = 3;
const REPLICAS = 3 * SHARDS;
const MOVED_MS = 90000;
const PAUSE_MS = 6000; // a fail-over, on a machine that has other things to do

let cluster;
let writers;
const test = (what, body) => check(() => cluster, what, body);

async function update(c, name, body) {
  const { json } = await c.insist('PATCH', `/_/nodes/${name}`, { body });
  assert.equal(json.id, name);
  assert.equal(json.draining, body.drain);
}

/** Waits for what the table of nodes shows, and meanwhile for each acknowledgement. */
async function writingUntil(what, c, look) {
  let seen = writers.acknowledged.size;
  let since = Date.now();
  let longest = 0;
  const row = await until(what, MOVED_MS, async () => {
    if (writers.acknowledged.size > seen) {
      seen = writers.acknowledged.size;
      since = Date.now();
    }
    longest = Math.max(longest, Date.now() - since);
    return look();
  });
  assert.ok(longest < PAUSE_MS, `nothing was acknowledged for ${longest} ms`);
  return row;
}

function empty(c, name) {
  return writingUntil(`${name} is empty`, c, async () => {
    const row = await c.node(name);
    return row.toMove === 0 && row.shards === 0;
  });
}

function filled(c, name, least) {
  return writingUntil(`${name} has ${least} replicas`, c, async () => (await c.node(name)).shards >= least);
}

function healthy(c, names) {
  return until(`${names} are healthy`, 60000, async () => {
    const { json } = await c.get('/system.nodes');
    return names.every((name) => json.find((row) => row.id === name)?.health === 'healthy');
  });
}

async function placed(c) {
  const { json } = await c.get('/system.nodes');
  return json.filter((row) => row.role === 'storage').reduce((sum, row) => sum + row.shards, 0);
}

describe('storage nodes come and go', () => {
  before(async () => {
    cluster = await startCluster('nodes');
    await cluster.collection('moved', { shards: SHARDS });
    writers = new Writers(cluster, 'moved');
    await until('the first writes', 20000, () => writers.acknowledged.size >= 20);
  });
  after(async () => {
    await writers?.stop();
    await cluster?.down();
  });

  test('a new node is filled', async (c) => {
    await c.dev('--nodes', 4, 'up');
    await filled(c, 'storage-4', Math.floor(REPLICAS / 4));
  });

  test('a node is emptied, and not missed', async (c) => {
    await update(c, 'storage-3', { drain: true });
    await empty(c, 'storage-3');
    c.killNow('storage-3');
    assert.equal(await placed(c), REPLICAS);
    const from = writers.acknowledged.size;
    await until('50 writes without it', 20000, () => writers.acknowledged.size >= from + 50);
  });

  test('a dead node is replaced by another, that comes back with an old disk', async (c) => {
    c.killNow('storage-1');
    await c.dev('restart', 'storage-3');
    await update(c, 'storage-3', { drain: false });
    await update(c, 'storage-1', { drain: true, replaceBy: 'storage-3' });
    await empty(c, 'storage-1');
    assert.equal((await c.node('storage-3')).shards, SHARDS);
  });

  test('who was replaced comes back, holds nothing, and is filled again', async (c) => {
    await c.dev('restart', 'storage-1');
    await healthy(c, ['storage-1']);
    await update(c, 'storage-1', { drain: false });
    await filled(c, 'storage-1', Math.floor(REPLICAS / 4));
    await healthy(c, ['storage-1', 'storage-2', 'storage-3', 'storage-4']);
  });

  test('what cannot be is refused', async (c) => {
    for (const [name, body, status] of [
      ['storage-9', { drain: true }, 404], ['gateway-1', { drain: true }, 404], ['storage-1', {}, 400],
      ['storage-1', { drain: 'yes' }, 400], ['storage-1', { drain: true, replaceBy: 'storage-1' }, 400],
      ['storage-1', { drain: true, replaceBy: 'nobody' }, 400],
    ]) {
      const answer = await c.send('PATCH', `/_/nodes/${name}`, { body });
      assert.equal(answer.status, status, `${name} ${JSON.stringify(body)}: ${answer.text}`);
    }
  });

  test('everything that was acknowledged is there', async (c, t) => {
    await writers.stop();
    t.diagnostic(`${writers.acknowledged.size} documents`);
    await writers.verify();
  });
});
