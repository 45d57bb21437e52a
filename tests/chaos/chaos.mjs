// chaos.mjs MINUTES|short [SEED] [FAULT]: a real cluster of hosts in network namespaces, clients that record what they are
// told, and everything that can go wrong; "short" is once what matters most, a bit over a minute. Its last line sums up; exit code 0 only if nothing was lost and nothing came back.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { choosePlace } from '../e2e/lib.mjs';
import { Clients, COLLECTIONS } from './clients.mjs';
import { Hosts, missing } from './hosts.mjs';
import { Nemesis } from './nemesis.mjs';

const short = process.argv[2] === 'short';
const minutes = short ? 0 : Number(process.argv[2]);
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 1e9));
const COUNT = { nodes: 4, gateways: 2, arbiters: 1 };
const LOOPS = 6;
const RATE = Number(process.env.PARLEY_CHAOS_RATE || 0); // rounds of clients a second, each about one write; 0: no limit
const STATUS_MS = 60000;
const COMPARED_MAX = 5;
const SETTLE_MS = 4000;
const SUMMARY = 'summary'; // written within the cluster's network, printed last

/** mulberry32: the same seed, the same faults; what clients see differs with every run. */
function randomOf(start) {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const percentile = (list, share) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(list.length * share) - 1)] ?? 0;

const started = performance.now();
function log(text) {
  console.log(`${((performance.now() - started) / 1000).toFixed(1).padStart(7)} ${text}`);
}

/** Clients live in the network of the hosts: once that is there, this process enters it, by starting itself again. */
function enter(cluster) {
  const args = ['netns', 'exec', `${cluster.hosts}-client`, process.execPath, process.argv[1], process.argv[2], seed, ...process.argv.slice(4)].map(String);
  const env = { ...process.env, PARLEY_CHAOS: JSON.stringify({ dir: cluster.dir, base: cluster.base, net: cluster.net, hosts: cluster.hosts }) };
  return spawnSync('ip', args, { env, stdio: 'inherit' }).status ?? 1;
}

/** Replicas apply the last entries when they hear that these are settled: who is stopped just before has yet to. It may come
 * back and do so; what lies there when all have applied as much is compared to the letter. */
async function compareAtRest(cluster) {
  for (let times = 1; ; times++) {
    await cluster.dev('down');
    const faults = cluster.compareStores();
    const behind = faults.length > 0 && faults.every((text) => new Set(text.match(/ applied=\d+/g)).size > 1);
    if (!behind || times === COMPARED_MAX) return faults;
    await cluster.dev('up');
    await new Promise((done) => setTimeout(done, SETTLE_MS));
  }
}

async function main() {
  const lacks = missing();
  for (const what of lacks) console.log(`skipped here: ${what}`);
  if (lacks.some((what) => what.startsWith('everything') || what.startsWith('network') || what.startsWith('nftables'))) {
    console.log('chaos skipped: this machine can make no hosts');
    if (process.env.PARLEY_SKIPPED) writeFileSync(process.env.PARLEY_SKIPPED, `${lacks.join('\n')}\n`);
    process.exit(process.env.PARLEY_SKIPPED ? 0 : 1);
  }
  console.log(`seed ${seed}, ${short ? 'short' : `${minutes} minutes`}`);
  const cluster = new Hosts('chaos', await choosePlace(), COUNT);
  let code = 1;
  try {
    await cluster.up();
    code = enter(cluster);
    const faults = await compareAtRest(cluster);
    for (const text of faults) console.log(text);
    console.log(`stores compared: ${faults.length} faults`);
    code ||= Number(faults.length > 0);
    console.log(readFileSync(join(cluster.dir, SUMMARY), 'utf8'));
  } finally {
    cluster.failed = code !== 0;
    await cluster.down();
  }
  process.exit(code);
}

async function run(cluster) {
  const random = randomOf(seed);
  for (const [name, settings] of Object.entries(COLLECTIONS)) await cluster.collection(name, settings);
  const clients = new Clients(cluster, Math.random, { gateways: COUNT.gateways, loops: LOOPS, rate: RATE });
  const nemesis = new Nemesis(cluster, clients, random, log);
  clients.start();
  const status = setInterval(() => log(`acked=${clients.acked} refused=${clients.refused} unanswered=${clients.unanswered} `
    + `violations=${clients.violations.length} checker=${Math.round(process.memoryUsage.rss() / 1048576)}MiB`), STATUS_MS);
  try {
    const only = process.argv.slice(4).join(' ');
    await (short ? nemesis.runShort() : nemesis.run(started + minutes * 60000, only ? [only] : undefined));
  } finally {
    clearInterval(status);
    await clients.stop();
  }
  log('healed; looking for what was promised');
  const { lost, resurrected, violations } = await clients.verify(nemesis.disksLost);
  for (const text of [...lost.map((id) => `lost: ${id}`), ...resurrected.map((id) => `came back: ${id}`), ...violations].slice(0, 50))
    console.log(text);
  for (const [name, times] of [...nemesis.seen].sort()) console.log(`${String(times).padStart(5)} ${name}`);
  for (const [what, times] of Object.entries(clients.counts())) console.log(`${String(times).padStart(5)} ${what}`);
  console.log(`refused=${clients.refused} unanswered=${clients.unanswered} violations=${violations.length}`);
  const p99 = Math.round(percentile(nemesis.failovers, 0.99));
  writeFileSync(join(cluster.dir, SUMMARY), `chaos minutes=${short ? ((performance.now() - started) / 60000).toFixed(1) : minutes} acked=${clients.acked} lost=${lost.length} resurrected=${resurrected.length} `
    + `failovers=${nemesis.failovers.length} failover_p99_ms=${p99}`);
  return lost.length + resurrected.length + violations.length === 0 ? 0 : 1;
}

if (process.env.PARLEY_CHAOS) process.exit(await run(Hosts.attach(JSON.parse(process.env.PARLEY_CHAOS), COUNT)));
await main();
