// Figures of _changes: changes.mjs DOCUMENTS FEEDS
//   so many documents, listed with their bodies: documents for each second of CPU time of all server processes together
//   so many long polls that wait at one gateway: its memory, and how soon one change has woken all
// One line each; fails past the limits below.
import { request } from 'node:https';
import { loadavg } from 'node:os';
import { startCluster, until } from '../e2e/lib.mjs';
import { cpuMs, residentMib } from './members.mjs';

const DOCUMENTS_PER_CPU_SECOND = 100000;
const WAITING_MIB = 300;
const BATCH = 1000;
const OPEN_AT_ONCE = 50;
const COUCH_PORT_OFFSET = -1459;

const [documents, feeds] = process.argv.slice(2).map(Number);
const cluster = await startCluster('changes-bench', { gateways: 1 });
const urlOf = (path) => new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`);

async function couch(method, path, body) {
  const answer = await cluster.sendTo(urlOf(path), { method, body });
  if (answer.status > 201) throw new Error(`${answer.status} ${answer.text}`);
  return answer;
}

/** The number of rows, without keeping them. */
function count(path) {
  return new Promise((done, fail) => {
    request(urlOf(path), cluster.tls, (answer) => {
      let rows = 0;
      let rest = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => {
        const lines = (rest + part).split('\n');
        rest = lines.pop();
        rows += lines.filter((line) => line.startsWith('{"seq"')).length;
      });
      answer.on('end', () => done(rows));
      answer.on('error', fail);
    }).on('error', fail).end();
  });
}

async function list() {
  await couch('PUT', '/listed?q=4');
  for (let first = 0; first < documents; first += BATCH) {
    const docs = Array.from({ length: BATCH }, (_, i) => ({ _id: `document-${first + i}`, n: first + i, text: 'x'.repeat(180) }));
    await couch('POST', '/listed/_bulk_docs', { docs });
  }
  const before = cpuMs(cluster);
  const rows = await count('/listed/_changes?include_docs=true');
  const ms = cpuMs(cluster) - before;
  const rate = Math.round((rows / ms) * 1000);
  console.log(`changes listed=${rows} cpu_ms=${Math.round(ms)} per_cpu_second=${rate} load=${loadavg()[0].toFixed(1)}`);
  return rows === documents && rate >= DOCUMENTS_PER_CPU_SECOND;
}

/** A long poll; resolved when it waits. */
function poll(answers) {
  return new Promise((done, fail) => {
    request(urlOf('/waited/_changes?feed=longpoll&since=now&heartbeat=30000'), { ...cluster.tls, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (part) => {
        text += part;
        done();
      });
      answer.on('end', () => answers.push(JSON.parse(text).results.length));
      answer.on('error', () => answers.push(0));
    }).on('error', fail).end();
  });
}

async function wait() {
  const answers = [];
  await couch('PUT', '/waited?q=4');
  for (let open = 0; open < feeds; open += OPEN_AT_ONCE) await Promise.all(Array.from({ length: OPEN_AT_ONCE }, () => poll(answers)));
  const waiting = residentMib(cluster, 'gateway-1');
  const cpu = cpuMs(cluster);
  const from = performance.now();
  await couch('PUT', '/waited/a', {});
  await until('all have ended', 60000, () => answers.length === feeds);
  const woken = answers.filter((rows) => rows === 1).length;
  console.log(`changes waiting=${feeds} gateway_mib=${waiting} woken=${woken} ms=${Math.round(performance.now() - from)} ` +
    `cpu_ms=${Math.round(cpuMs(cluster) - cpu)} load=${loadavg()[0].toFixed(1)}`);
  return woken === feeds && waiting <= WAITING_MIB;
}

let held = false;
try {
  const waited = await wait(); // first: what was listed would count as well
  held = (await list()) && waited;
} catch (error) {
  cluster.failed = true;
  throw error;
} finally {
  await cluster.down();
}
process.exit(held ? 0 : 1);
