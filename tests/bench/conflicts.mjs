// Figures of conflicts: conflicts.mjs queue COUNT | leaves COUNT | push COUNT
//   queue   so many open conflicts of two leaves, resolved with `merge` and, with retainMs 0, cleaned up on three replicas
//   leaves  one document with so many leaves: read, written, resolved in one step
//   push    one document gets so many leaves, pushed a thousand at once, while somebody else writes other documents
// One line each, with the CPU time of all server processes; fails past the limits below.
import { createHash } from 'node:crypto';
import { loadavg } from 'node:os';
import { couchUrl } from '../e2e/couch-lib.mjs';
import { startCluster, until } from '../e2e/lib.mjs';
import { MEMBERS, cpuMs, residentMib } from './members.mjs';

const QUEUE_MS = 20000;
const LEAVES_P99_MS = 50;
const WRITERS = 16;
const PUSHED_AT_ONCE = 1000;
const OTHERS_MS = 1000;
const STORAGE = MEMBERS.filter((name) => name.startsWith('storage'));

const percentile = (list, share) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(list.length * share) - 1)];
const numbers = (count) => Array.from({ length: count }, (_, n) => n);

/** Calls `work` for each number, so many at once. */
async function each(count, work, writers = WRITERS) {
  let next = 0;
  const loop = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: writers }, loop));
}

async function good(promise, statuses = [200, 201]) {
  const answer = await promise;
  if (!statuses.includes(answer.status)) throw new Error(`${answer.status} ${answer.text}`);
  return answer;
}

async function sum(c, metric) {
  const all = await Promise.all(STORAGE.map((name) => c.metric(name, metric)));
  return all.reduce((a, b) => a + b);
}

async function queue(c, count) {
  const settings = { mode: 'available', retainMs: 0, shards: 4, policy: { strategy: 'none' } };
  await c.collection('queue', settings);
  const etags = new Map();
  await each(count, async (n) => {
    const made = await good(c.put(`/queue/d-${n}`, { n, online: 0, offline: 0, text: 'x'.repeat(200) }));
    etags.set(n, made.etag);
  });
  await each(count, async (n) => {
    const headers = { 'If-Match': etags.get(n) };
    await good(c.put(`/queue/d-${n}`, { n, online: 1, offline: 0, text: 'x'.repeat(200) }, headers));
    await good(c.put(`/queue/d-${n}?branch=true`, { n, online: 0, offline: 1, text: 'x'.repeat(200) }, headers));
  });
  await until('all are open', 20000, async () => (await sum(c, 'parley_conflicts_open')) === 3 * count);
  const [cpu, storageCpu, arbiterCpu] = [cpuMs(c), cpuMs(c, STORAGE), cpuMs(c, ['arbiter-1'])];
  const from = performance.now();
  await good(c.send('PATCH', '/_/collections/queue', { body: { policy: { strategy: 'merge' } } }));
  await until('all are resolved', 120000, async () => (await sum(c, 'parley_conflicts_open')) === 0, 20);
  const resolved = Math.round(performance.now() - from);
  await until('all are cleaned up', 120000, async () => (await sum(c, 'parley_cleanups_applied_total')) === 3 * count, 20);
  const ms = Math.round(performance.now() - from);
  const read = await c.get(`/queue/d-${count - 1}?conflicts=true`);
  const whole = read.json.online === 1 && read.json.offline === 1 && !read.headers['x-parley-conflicts'];
  console.log(`conflicts count=${count} resolved_ms=${resolved} ms=${ms} cpu_ms=${Math.round(cpuMs(c) - cpu)} ` +
    `storage_cpu_ms=${Math.round(cpuMs(c, STORAGE) - storageCpu)} ` +
    `arbiter_cpu_ms=${Math.round(cpuMs(c, ['arbiter-1']) - arbiterCpu)} whole=${whole} load=${loadavg()[0].toFixed(1)}`);
  return whole && ms <= QUEUE_MS;
}

/** The time of each of `count` calls, one after the other, and the servers' CPU time. */
async function measure(c, what, count, call) {
  const took = [];
  const cpu = cpuMs(c);
  for (let n = 0; n < count; n++) {
    const from = performance.now();
    await good(call(n));
    took.push(performance.now() - from);
  }
  const [p50, p99] = [0.5, 0.99].map((share) => percentile(took, share));
  console.log(`leaves ${what} p50_ms=${p50.toFixed(1)} p99_ms=${p99.toFixed(1)} ` +
    `cpu_ms=${((cpuMs(c) - cpu) / count).toFixed(1)} load=${loadavg()[0].toFixed(1)}`);
  return p99;
}

async function leaves(c, count) {
  await c.collection('leaves', { mode: 'available', retainMs: 0, shards: 1, policy: { strategy: 'none', paths: {} } });
  const root = await good(c.put('/leaves/d', { all: [], text: 'x'.repeat(200) }));
  await good(c.put('/leaves/d', { all: [0], text: 'x'.repeat(200) }, { 'If-Match': root.etag }));
  const etags = [];
  const branch = async (n) => {
    const body = { all: [n], text: 'x'.repeat(200) };
    const answer = await good(c.put('/leaves/d?branch=true', body, { 'If-Match': root.etag }), [200, 201, 202]);
    etags[n] = answer.etag;
    return answer;
  };
  let cpu = cpuMs(c);
  let from = performance.now();
  await each(count - 1, (n) => branch(n + 1));
  console.log(`leaves made count=${count} ms=${Math.round(performance.now() - from)} cpu_ms=${Math.round(cpuMs(c) - cpu)}`);
  await until('all branches are ordered', 60000, async () =>
    Number((await c.get('/leaves/d')).headers['x-parley-conflicts']) === count - 1);
  const reads = [
    await measure(c, 'read', 200, () => c.get('/leaves/d')),
    await measure(c, 'read-conflicts', 200, () => c.get('/leaves/d?conflicts=true')),
    await measure(c, 'read-leaf', 200, (n) => c.get(`/leaves/d?rev=${etags[n + 1].replaceAll('"', '')}`)),
    await measure(c, 'list', 100, () => c.get('/leaves?limit=10')),
  ];
  const writes = [
    await measure(c, 'write-branch', 200, (n) => branch(count + n)),
    await measure(c, 'write-leaf', 200, (n) =>
      c.put('/leaves/d', { all: [n], text: 'y' }, { 'If-Match': etags[n + 1] })),
    await measure(c, 'write-winner', 200, (n) => c.put('/leaves/d', { all: [n], text: 'z' })),
  ];
  const paths = { all: 'set', text: 'newest' };
  cpu = cpuMs(c);
  from = performance.now();
  await good(c.send('PATCH', '/_/collections/leaves', { body: { policy: { strategy: 'merge', paths } } }));
  await until('it is resolved', 60000, async () => !(await c.get('/leaves/d')).headers['x-parley-conflicts'], 20);
  const resolved = Math.round(performance.now() - from);
  await until('it is cleaned up', 60000, async () => (await sum(c, 'parley_cleanups_applied_total')) >= 3, 20);
  const found = (await c.get('/leaves/d')).json.all.length;
  const history = (await c.get('/system.resolutions')).json;
  console.log(`leaves resolved ms=${resolved} cleaned_ms=${Math.round(performance.now() - from)} ` +
    `cpu_ms=${Math.round(cpuMs(c) - cpu)} values=${found} steps=${history.length} ` +
    `memory_mib=${STORAGE.concat('arbiter-1').map((name) => residentMib(c, name)).join(',')}`);
  return history.length === 1 && [...reads, ...writes].every((ms) => ms <= LEAVES_P99_MS);
}

/** Writes documents of its own until it is told to stop; returns how long the slowest took, and what was not taken. */
async function writeOthers(c, state) {
  const took = [];
  let refused = 0;
  for (let n = 0; !state.done; n++) {
    const from = performance.now();
    const { status } = await c.put(`/leaves/other-${n}`, { n });
    took.push(performance.now() - from);
    refused += status !== 201;
  }
  return { took, refused };
}

async function push(c, count) {
  await c.collection('leaves', { mode: 'available', retainMs: 0, shards: 1, policy: { strategy: 'none' } });
  const name = (n) => createHash('md5').update(String(n)).digest('hex');
  const state = { done: false };
  const others = writeOthers(c, state);
  const cpu = cpuMs(c);
  const pushes = [];
  for (let first = 0; first < count; first += PUSHED_AT_ONCE) {
    const docs = numbers(Math.min(PUSHED_AT_ONCE, count - first)).map((n) => ({
      _id: 'd', all: [first + n], text: 'x'.repeat(200), _revisions: { start: 2, ids: [name(first + n + 1), name(0)] } }));
    const from = performance.now();
    const answer = await c.sendTo(couchUrl(c, '/leaves/_bulk_docs'), { method: 'POST', body: { new_edits: false, docs } });
    if (answer.status !== 201 || answer.json.length) console.log(`push ${first}: ${answer.status} ${answer.text.slice(0, 200)}`);
    pushes.push(Math.round(performance.now() - from));
  }
  state.done = true;
  const { took, refused } = await others;
  const conflicts = Number((await c.get('/leaves/d')).headers['x-parley-conflicts']);
  console.log(`push count=${count} ms=${pushes.join(',')} cpu_ms=${Math.round(cpuMs(c) - cpu)} conflicts=${conflicts} ` +
    `others=${took.length} others_p99_ms=${Math.round(percentile(took, 0.99))} others_max_ms=${Math.round(Math.max(...took))} ` +
    `refused=${refused} takeovers=${await sum(c, 'parley_takeovers_total')} ` +
    `memory_mib=${STORAGE.map((member) => residentMib(c, member)).join(',')} load=${loadavg()[0].toFixed(1)}`);
  return conflicts === count - 1 && refused === 0 && percentile(took, 0.99) <= OTHERS_MS;
}

const [what, count] = process.argv.slice(2);
const cluster = await startCluster('conflicts-bench', { gateways: 1 });
let held = false;
try {
  held = await { queue, leaves, push }[what](cluster, Number(count));
} catch (error) {
  cluster.failed = true;
  throw error;
} finally {
  await cluster.down();
}
process.exit(held ? 0 : 1);
