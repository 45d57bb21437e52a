// Figures of a quiet cluster: figures.mjs failover KILLS | catchup WRITES | coordinator SECONDS
//   failover     kills the lead so often; for each the time to the first 201 of a client that asks again every 50 ms
//   catchup      a storage node misses so many writes: how long until it is in sync
//   coordinator  reads and writes while the coordinator is down
// One line each; fails past the limits below.
import { setTimeout as sleep } from 'node:timers/promises';
import { startCluster, until } from '../e2e/lib.mjs';

const FAILOVER_P99_MS = 3000;
const CATCH_UP_MS = 30000;
const REFUSED_MAX = 0;
const RETRY_MS = 50;
const BATCH = 500;
const WRITERS = 4;

const percentile = (list, share) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(list.length * share) - 1)];

async function storageNodes(c) {
  const { json } = await c.get('/system.nodes');
  return json.filter((row) => row.role === 'storage');
}

function lead(c) {
  return until('one lead, and all in sync', 60000, async () => {
    const nodes = await storageNodes(c);
    return nodes.every((row) => row.health === 'healthy') && nodes.find((row) => row.leads > 0)?.id;
  });
}

async function failOver(c, round) {
  const name = await lead(c);
  const killed = performance.now();
  c.killNow(name);
  for (let attempt = 0; ; attempt++) {
    const answer = await c.put(`/figures/f-${round}-${attempt}`, { round, attempt }).catch(() => ({ status: 0 }));
    if (answer.status === 201) break;
    await sleep(RETRY_MS);
  }
  const took = performance.now() - killed;
  await c.dev('restart', name);
  return took;
}

async function failovers(c, kills) {
  const took = [];
  for (let round = 0; round < kills; round++) took.push(await failOver(c, round));
  const [p50, p99, max] = [0.5, 0.99, 1].map((share) => Math.round(percentile(took, share)));
  console.log(`failover kills=${kills} p50_ms=${p50} p99_ms=${p99} max_ms=${max}`);
  return p99 <= FAILOVER_P99_MS;
}

async function writeBatches(c, numbers) {
  for (let n; (n = numbers.pop()) !== undefined;) {
    const body = Array.from({ length: BATCH }, (_, i) => ({ id: `b-${n}-${i}`, n, text: 'x'.repeat(200) }));
    await c.insist('POST', '/figures', { body, headers: { 'Idempotency-Key': `batch-${n}` } }, [200, 201], 60000);
  }
}

async function catchUp(c, writes) {
  const name = (await storageNodes(c)).find((row) => row.leads === 0).id;
  c.killNow(name);
  const numbers = Array.from({ length: Math.ceil(writes / BATCH) }, (_, n) => n);
  await Promise.all(Array.from({ length: WRITERS }, () => writeBatches(c, numbers)));
  const others = (await storageNodes(c)).filter((row) => row.id !== name).map((row) => row.id);
  const documents = await c.metric(others[0], 'parley_documents');
  const started = performance.now();
  await c.dev('restart', name);
  await until(`${name} is in sync`, 300000, async () => (await c.node(name)).health === 'healthy' &&
    (await c.metric(name, 'parley_documents')) === documents, 20);
  const took = Math.round(performance.now() - started);
  console.log(`catchup writes=${numbers.length === 0 && Math.ceil(writes / BATCH) * BATCH} ms=${took}`);
  return took <= CATCH_UP_MS;
}

async function withoutCoordinator(c, seconds) {
  let [done, refused, longest] = [0, 0, 0];
  c.killNow('coordinator-1');
  const end = performance.now() + seconds * 1000;
  for (let n = 0; performance.now() < end; n++) {
    const from = performance.now();
    const written = await c.put(`/figures/c-${n}`, { n });
    const read = await c.get(`/figures/c-${n}`);
    longest = Math.max(longest, performance.now() - from);
    if (written.status === 201 && read.status === 200 && read.json.n === n) done++;
    else refused++;
    await sleep(10);
  }
  await c.dev('restart', 'coordinator-1');
  console.log(`coordinator down_s=${seconds} pairs=${done} refused=${refused} longest_ms=${Math.round(longest)}`);
  return done > 0 && refused <= REFUSED_MAX;
}

const [what, count] = process.argv.slice(2);
const figures = { failover: failovers, catchup: catchUp, coordinator: withoutCoordinator };
const cluster = await startCluster('figures');
let good = false;
try {
  await cluster.collection('figures', { shards: 1 });
  await cluster.insist('PUT', '/figures/first', { body: { n: 0 } });
  await lead(cluster);
  good = await figures[what](cluster, Number(count));
} finally {
  await cluster.down();
}
process.exit(good ? 0 : 1);
