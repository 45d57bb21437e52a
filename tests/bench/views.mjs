// Figures of views: views.mjs DOCUMENTS
//   so many small documents, in a view that was not there: documents for each second of CPU time of the storage nodes that
//   build it and their script workers; then the same after each tenth document was changed
// One line each; fails past the limit below.
import { readFileSync, readdirSync } from 'node:fs';
import { loadavg } from 'node:os';
import { startCluster, until } from '../e2e/lib.mjs';
import { cpuMs } from './members.mjs';

const DOCUMENTS_PER_CPU_SECOND = 100000;
const BATCH = 1000;
const COUCH_PORT_OFFSET = -1459;
const STORAGE = ['storage-1', 'storage-2', 'storage-3'];
const BY_NUMBER = { map: "function (doc) { if (doc.type === 'a') emit(doc.n, null); }", reduce: '_count' };

const documents = Number(process.argv[2]);
const cluster = await startCluster('views-bench', { gateways: 1 });

async function couch(method, path, body) {
  const url = new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`);
  return cluster.sendTo(url, { method, body });
}

function children(pid) {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean));
}

/** Of the storage nodes, and of their workers. */
function spentMs() {
  const workers = STORAGE.flatMap((name) => children(cluster.pid(name)));
  const own = workers.map((pid) => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6);
  return { nodes: cpuMs(cluster, STORAGE), workers: own.reduce((sum, ms) => sum + ms, 0) };
}

async function fill(revisions, step) {
  const made = new Map();
  for (let first = 0; first < documents; first += BATCH * step) {
    const docs = Array.from({ length: BATCH }, (_, i) => first + i * step).filter((n) => n < documents).map((n) => {
      const _id = `document-${n}`;
      return { _id, _rev: revisions.get(_id), type: 'a', n: n + step - 1, name: `name ${n % 1000}`, tags: ['x', 'y'], text: 'x'.repeat(40) };
    });
    const answer = await couch('POST', '/viewed/_bulk_docs', { docs });
    for (const row of answer.json) {
      if (!row.ok) throw new Error(JSON.stringify(row));
      made.set(row.id, row.rev);
    }
  }
  return made;
}

/** While it is being built there is no answer. */
async function read(view) {
  let count;
  await until(`${view} is built`, 600000, async () => {
    const answer = await couch('GET', `/viewed/_design/${view}`);
    if (answer.status === 503) return false;
    if (answer.status !== 200) throw new Error(answer.text);
    count = answer.json.rows[0].value;
    return true;
  });
  return count;
}

async function measure(what, changed) {
  const before = spentMs();
  const from = performance.now();
  const count = await read('v/_view/by-number');
  const after = spentMs();
  const nodes = after.nodes - before.nodes;
  const workers = after.workers - before.workers;
  const rate = Math.round((changed / (nodes + workers)) * 1000);
  console.log(`views ${what}=${changed} rows=${count} nodes_ms=${Math.round(nodes)} workers_ms=${Math.round(workers)} ` +
    `per_cpu_second=${rate} seconds=${((performance.now() - from) / 1000).toFixed(1)} load=${loadavg()[0].toFixed(1)}`);
  if (count !== documents) throw new Error('rows are missing');
  return rate;
}

let held = false;
try {
  await couch('PUT', '/viewed?q=4');
  const revisions = await fill(new Map(), 1);
  await couch('PUT', '/viewed/_design/v', { views: { 'by-number': BY_NUMBER } });
  await couch('PUT', '/warm?q=4');
  await couch('PUT', '/warm/_design/v', { views: { v: { map: 'function (doc) { emit(1); }' } } });
  await until('the workers run', 20000, async () => (await couch('GET', '/warm/_design/v/_view/v')).status === 200);
  held = (await measure('built', documents)) >= DOCUMENTS_PER_CPU_SECOND;
  await fill(revisions, 10);
  await measure('changed', Math.ceil(documents / 10));
} catch (error) {
  cluster.failed = true;
  throw error;
} finally {
  await cluster.down();
}
process.exit(held ? 0 : 1);
