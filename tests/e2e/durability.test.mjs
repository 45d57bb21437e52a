// Whatever is killed, whenever: what was acknowledged stays, and writing goes on soon.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, median, startCluster, until } from './lib.mjs';
import { Writers } from './writers.mjs';

const STORAGE = ['storage-1', 'storage-2', 'storage-3'];
const EVERYBODY = ['coordinator-1', ...STORAGE, 'gateway-1', 'gateway-2', 'arbiter-1'];
const FAILOVER_MS = 3000;
const FAILOVERS = 3;
const RETRY_MS = 50;
const COORDINATOR_AWAY_MS = 4000; // several leases

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function someWrites(writers, more) {
  const from = writers.acknowledged.size;
  return until(`${more} more writes`, 20000, () => writers.acknowledged.size >= from + more, 10);
}

/** The one storage node that leads something, while there is one collection of one shard. */
function findLead(c) {
  return until('a lead', 20000, async () => {
    const { json } = await c.get('/system.nodes');
    const storage = json.filter((row) => row.role === 'storage');
    if (!storage.every((row) => row.health === 'healthy')) return undefined;
    return storage.find((row) => row.leads === 1)?.id;
  });
}

/** Milliseconds from the kill of the lead to the first acknowledgement. */
async function failOver(c, round) {
  const lead = await findLead(c);
  const killed = c.killNow(lead);
  for (let attempt = 0; ; attempt++) {
    const answer = await c.put(`/single/over-${round}-${attempt}`, { round, attempt });
    if (answer.status === 201) break;
    assert.equal(answer.status, 503, answer.text);
    assert.ok(Date.now() - killed < 30000, 'no fail-over within 30 s');
    await sleep(RETRY_MS);
  }
  const took = Date.now() - killed;
  await c.dev('restart', lead);
  return took;
}

describe('durability', () => {
  before(async () => {
    cluster = await startCluster('durability');
    await cluster.collection('single', { shards: 1 });
  });
  after(() => cluster?.down());

  test(`the lead is killed: the next 201 comes within ${FAILOVER_MS} ms`, async (c, t) => {
    await c.insist('PUT', '/single/first', { body: { n: 0 } });
    const took = [];
    for (let round = 0; round < FAILOVERS; round++) took.push(await failOver(c, round));
    t.diagnostic(`fail-over took ${took.join(', ')} ms`);
    assert.ok(median(took) < FAILOVER_MS, `fail-over took ${took.join(', ')} ms`);
  });

  test('each storage node is killed in turn while clients write', async (c, t) => {
    await c.collection('rolling');
    const writers = new Writers(c, 'rolling');
    for (const name of STORAGE) {
      await someWrites(writers, 50);
      c.killNow(name);
      await someWrites(writers, 50);
      await c.dev('restart', name);
      await until(`${name} is healthy`, 20000, async () => (await c.node(name)).health === 'healthy');
    }
    await writers.stop();
    t.diagnostic(`${writers.acknowledged.size} documents acknowledged, ${await writers.verify()} there`);
  });

  test('reads and writes go on while the coordinator is away', async (c) => {
    await c.collection('alone');
    c.killNow('coordinator-1');
    const refused = [];
    const end = performance.now() + COORDINATOR_AWAY_MS;
    for (let n = 0; performance.now() < end; n++) {
      const gateway = 1 + (n % 2);
      const written = await c.put(`/alone/${n}`, { n }, {}, { gateway });
      const read = await c.get(`/alone/${n}`, { gateway: 3 - gateway });
      if (written.status !== 201) refused.push(written.text);
      else if (read.status !== 200 || read.json.n !== n) refused.push(read.text);
    }
    await c.dev('restart', 'coordinator-1');
    assert.deepEqual(refused, []);
    await c.collection('together');
  });

  test('coordinator and gateways are killed while clients write', async (c) => {
    await c.collection('others');
    const writers = new Writers(c, 'others');
    for (const name of ['coordinator-1', 'gateway-1', 'gateway-2', 'arbiter-1']) {
      await someWrites(writers, 30);
      c.killNow(name);
      await someWrites(writers, 30);
      await c.dev('restart', name);
    }
    await writers.stop();
    await writers.verify();
  });

  for (const round of [1, 2]) {
    test(`everything is killed at once while clients write (${round})`, async (c, t) => {
      await c.collection(`all-${round}`);
      const writers = new Writers(c, `all-${round}`, { count: 8 });
      await someWrites(writers, 150 + 142 * (round - 1));
      for (const name of EVERYBODY) c.killNow(name);
      await c.dev('up');
      await someWrites(writers, 20);
      await writers.stop();
      t.diagnostic(`${writers.acknowledged.size} documents acknowledged, ${await writers.verify()} there`);
    });
  }

  test('a node that was gone for a while is written to as soon as it is back', async (c) => {
    await c.collection('back');
    c.killNow('storage-2');
    await until('the others lead', 20000, async () => {
      const some = Array.from({ length: 12 }, () => c.post('/back', {}));
      return (await Promise.all(some)).every((answer) => answer.status === 201);
    });
    await c.dev('restart', 'storage-2');
    await c.collection('fresh'); // which storage-2 leads a part of
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => c.post('/fresh', { n }, {}, { gateway: 2 })));
    assert.deepEqual(answers.filter((answer) => answer.status !== 201).map((answer) => answer.text), []);
  });

  test('the quorum is killed: nothing is acknowledged; it comes back: all is there', async (c) => {
    await c.collection('quorum');
    const writers = new Writers(c, 'quorum', { count: 4 });
    await someWrites(writers, 50);
    for (const name of ['storage-1', 'storage-2']) c.killNow(name);
    const before = writers.acknowledged.size;
    const refused = await c.put('/quorum/alone', { n: 1 });
    assert.equal(refused.status, 503, refused.text);
    assert.ok(writers.acknowledged.size - before <= 4, 'at most what was under way');
    await c.dev('restart', 'storage-1', 'storage-2');
    await someWrites(writers, 20);
    await writers.stop();
    await writers.verify();
  });
});
