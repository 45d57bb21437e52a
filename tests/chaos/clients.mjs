// What applications do while faults go on, with a record of what they were told. Each loop is one application that waits
// for its answers; all stop at `stop`, and `verify` holds the records against what is there.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkCleaned, checkCounters, checkDeleted, checkEnded, checkProbes, checkReached, checkRegisters, checkSet, checkTags,
} from './check.mjs';
import { Feed } from './feed.mjs';
import { INDEXED, Indexed } from './indexed.mjs';
import { Locks } from './locks.mjs';

const REGISTERS = 12;
const COUNTERS = 4;
const TAGGED = 6; // applications, two for each document
const RETRY_MS = 50;
const RETRY_MOST_MS = 1000;
const PROBE_IDLE_MS = 1000; // between probes while nobody measures
const REQUEST_MS = 8000;
const BURST_S = 60; // of rounds that faults held up and that are made up for
const ERA_MS = 180000; // then the registers' documents are others, and the records of the old ones are checked and dropped
const CLEANED_MS = 180000; // without any conflict less, and it counts as there for ever
const KEEP_TAGS = 40; // of a document, so that they stay small; then comes the next

export const COLLECTIONS = {
  'chaos.set': {},
  'chaos.register': {},
  'chaos.probe': { shards: 6 },
  'chaos.lock': {},
  'chaos-feed': {}, // a name that CouchDB's clients can have, too
  'chaos.index': INDEXED,
  'chaos.tags': { mode: 'available', retainMs: 1000, policy: { strategy: 'merge', paths: { tags: 'set' } } },
};

/** So many rounds a second on average; 0: as many as there can be. */
class Pace {
  constructor(rate) {
    this.stepMs = rate > 0 ? 1000 / rate : 0;
    this.next = 0;
  }

  async turn() {
    const now = performance.now();
    this.next = Math.max(this.next, now - BURST_S * 1000) + this.stepMs;
    if (this.stepMs > 0 && this.next > now) await sleep(this.next - now);
  }
}

export class Clients {
  going = true;
  measuring = false;
  acked = 0;
  refused = 0;
  unanswered = 0;
  violations = [];
  era = 0;
  eraEnd = 0;
  registers = new Map(); // era -> records
  ended = new Map(); // register of an ended era -> { status, revision, maybe }
  set = new Map(); // id -> { acked, value }
  deleted = new Set();
  counters = new Map();
  tags = new Map(); // document -> Map of acknowledged tags -> how and when they were
  tagsOf = Array(TAGGED / 2).fill(0); // tried so far, per line of documents
  probes = []; // { doc, start, end }: acknowledged writes
  probed = new Map(); // document -> { acked: number, unknown: Set of numbers }

  constructor(cluster, random, { gateways, loops, rate }) {
    this.cluster = cluster;
    this.random = random;
    this.gateways = gateways;
    this.loops = loops;
    this.pace = new Pace(rate);
    this.number = 0;
    this.parts = [new Locks(this), new Feed(this), new Indexed(this)]; // workloads with checkers of their own
  }

  /** What -> how often, of what the parts did; without what may not come to pass in a short run. */
  counts(rare = true) {
    return Object.assign({}, ...this.parts.flatMap((part) => [part.counts, rare && part.rare]));
  }

  start() {
    const some = (count, loop) => Array.from({ length: count }, (_, i) => this.#forever(loop, i));
    this.running = Promise.all([
      ...some(this.loops, this.#insert), ...some(this.loops, this.#register), ...some(COUNTERS, this.#count),
      ...some(TAGGED, this.#tag), ...Array.from({ length: REGISTERS }, (_, i) => this.#probeForever(i)),
      ...this.parts.flatMap((part) => part.start()),
    ]);
  }

  async stop() {
    this.going = false;
    await this.running;
  }

  async #forever(loop, i) {
    let pause = RETRY_MS;
    while (this.going) {
      await this.pace.turn();
      const done = await loop.call(this, i);
      if (!done) await sleep(pause);
      pause = done ? RETRY_MS : Math.min(2 * pause, RETRY_MOST_MS);
    }
  }

  /** One request that may fail in any way: { status: 0 } without an answer. */
  async ask(method, path, options = {}) {
    try {
      const gateway = 1 + Math.floor(this.random() * this.gateways);
      return await this.cluster.send(method, path, { gateway, timeoutMs: REQUEST_MS, ...options });
    } catch {
      return { status: 0, headers: {} };
    }
  }

  told(answer) {
    if (answer.status >= 200 && answer.status < 300) this.acked++;
    else if (answer.status === 0 || answer.json?.code === 'outcome_unknown') this.unanswered++;
    else this.refused++;
    return answer;
  }

  /** Asks until it is answered for good; with a key that is harmless. 0: not before the end. */
  async insist(method, path, body, headers = {}) {
    headers['Idempotency-Key'] = `k${++this.number}-${Math.floor(this.random() * 1e9)}`;
    for (let pause = RETRY_MS; ; pause = Math.min(2 * pause, RETRY_MOST_MS)) {
      const answer = await this.ask(method, path, { body, headers });
      if (answer.status !== 0 && answer.status !== 503 && answer.status !== 429 && answer.status !== 507) return this.told(answer);
      if (!this.going) return this.told({ status: 0, headers: {} });
      await sleep(pause);
    }
  }

  // ---- the workloads ----

  async #insert(client) {
    const value = ++this.number;
    const id = `s${client}-${value}`;
    this.set.set(id, { acked: false, value });
    const answer = await this.insist('PUT', `/chaos.set/${id}`, { value, filler: 'x'.repeat(200) });
    if (answer.status !== 200 && answer.status !== 201) return false;
    this.set.get(id).acked = true;
    if (this.random() < 0.1) {
      const gone = await this.insist('DELETE', `/chaos.set/${id}`);
      this.set.delete(id);
      if (gone.status === 200) this.deleted.add(id);
      else this.set.set(id, { acked: false, value });
    }
    return true;
  }

  async #register() {
    if (performance.now() > this.eraEnd) await this.#nextEra();
    const doc = `r${this.era}-${Math.floor(this.random() * REGISTERS)}`;
    const read = await this.#record(doc, 'get', 'GET');
    if (read.status !== 200 && read.status !== 404) return false;
    if (this.random() < 0.4) return true;
    const headers = read.etag && this.random() < 0.7 ? { 'If-Match': read.etag } : {};
    if (this.random() < 0.08) await this.#record(doc, 'delete', 'DELETE', headers);
    else await this.#record(doc, 'put', 'PUT', headers);
    return true;
  }

  async #record(doc, kind, method, headers = {}) {
    const value = kind === 'put' ? ++this.number : undefined;
    const op = { doc, kind, start: performance.now(), end: Infinity, status: 0, value, expected: headers['If-Match'] };
    this.registers.get(Number(/\d+/.exec(doc)[0])).push(op);
    const body = kind === 'put' ? { value } : undefined;
    const answer = await this.ask(method, `/chaos.register/${doc}`, { headers, body });
    if (kind !== 'get') this.told(answer);
    if (answer.status === 0 || answer.json?.code === 'outcome_unknown') return answer;
    Object.assign(op, { end: performance.now(), status: answer.status, revision: answer.etag });
    if (kind === 'get') op.value = answer.json?.value;
    return answer;
  }

  /** New documents; the era before the last has had its last answer long ago. */
  async #nextEra() {
    this.eraEnd = performance.now() + ERA_MS;
    this.registers.set(++this.era, []);
    if (this.registers.has(this.era - 2)) await this.#endEra(this.era - 2);
  }

  async #endEra(era) {
    const finals = new Map();
    for (let i = 0; i < REGISTERS; i++) {
      const doc = `r${era}-${i}`;
      let answer;
      while (![200, 404].includes((answer = await this.#record(doc, 'get', 'GET')).status)) await sleep(RETRY_MOST_MS);
      finals.set(doc, { status: answer.status, revision: answer.etag, maybe: false });
    }
    const ops = this.registers.get(era);
    this.registers.delete(era);
    for (const op of ops) if (op.status === 0 && op.kind !== 'get') finals.get(op.doc).maybe = true;
    for (const [doc, final] of finals) this.ended.set(doc, final);
    this.violations.push(...checkRegisters(ops));
  }

  async #count(client) {
    const name = `c${client}`;
    if (!this.counters.has(name)) this.counters.set(name, { acked: 0, unknown: 0 });
    const counter = this.counters.get(name);
    const read = await this.ask('GET', `/chaos.register/${name}`);
    if (read.status !== 200 && read.status !== 404) return false;
    const headers = read.etag ? { 'If-Match': read.etag } : { 'If-None-Match': '*' };
    const answer = await this.insist('PUT', `/chaos.register/${name}`, { n: (read.json?.n ?? 0) + 1 }, headers);
    if (answer.status === 200 || answer.status === 201) counter.acked++;
    else if (answer.status === 0) counter.unknown++;
    return true;
  }

  async #tag(client) {
    const doc = `t${client % (TAGGED / 2)}-${Math.floor(this.tagsOf[client % (TAGGED / 2)] / KEEP_TAGS)}`;
    if (!this.tags.has(doc)) this.tags.set(doc, new Map());
    const acked = this.tags.get(doc);
    const read = await this.ask('GET', `/chaos.tags/${doc}`);
    if (read.status !== 200 && read.status !== 404) return false;
    const tag = `g${++this.number}`;
    const body = { tags: [...(read.json?.tags ?? []), tag] };
    const answer = await this.insist('PUT', `/chaos.tags/${doc}${read.etag ? '?branch=true' : ''}`, body,
      read.etag ? { 'If-Match': read.etag } : { 'If-None-Match': '*' });
    if ([200, 201, 202].includes(answer.status)) acked.set(tag, { status: answer.status, at: performance.now() });
    this.tagsOf[client % (TAGGED / 2)]++;
    return true;
  }

  async #probe(i) {
    const doc = `p${i}`;
    if (!this.probed.has(doc)) this.probed.set(doc, { acked: 0, unknown: new Set() });
    const probed = this.probed.get(doc);
    const n = ++this.number;
    const start = performance.now();
    const answer = this.told(await this.ask('PUT', `/chaos.probe/${doc}`, { body: { n } }));
    if (answer.status !== 200 && answer.status !== 201) {
      if (answer.status === 0 || answer.status === 503) probed.unknown.add(n);
      return;
    }
    probed.acked = n;
    this.probes.push({ doc, start, end: performance.now() });
  }

  async #probeForever(i) {
    while (this.going) {
      await this.#probe(i);
      await sleep(this.measuring ? RETRY_MS : PROBE_IDLE_MS);
    }
  }

  /** From now on probes come often enough to measure by. */
  async measure() {
    this.measuring = true;
    await sleep(2 * PROBE_IDLE_MS);
    this.forgetProbes();
  }

  /** How long the slowest document could not be written after this moment; ms. */
  outage(atMs) {
    const first = new Map();
    for (const probe of this.probes)
      if (probe.start >= atMs && !first.has(probe.doc)) first.set(probe.doc, probe.end - atMs);
    return first.size < REGISTERS ? undefined : Math.max(...first.values());
  }

  forgetProbes() {
    this.probes = [];
  }

  // ---- the end ----

  /** id -> what `pick` takes of the row; whole rows of a long run would be too many. */
  async #all(collection, pick, more = '') {
    const rows = new Map();
    for (let cursor = ''; cursor !== undefined;) {
      const page = await this.cluster.insist('GET', `/${collection}?limit=1000&cursor=${encodeURIComponent(cursor)}${more}`, {}, [200], 60000);
      for (const row of page.json) rows.set(row.id, pick(row));
      cursor = page.headers['x-parley-cursor'];
    }
    const { json } = await this.cluster.insist('GET', `/system.collections/${collection}`);
    if (json.documentCount !== rows.size)
      this.violations.push(`${collection} counts ${json.documentCount} documents, a list gives ${rows.size}`);
    return rows;
  }

  async #verifyRegisters() {
    const numbers = await this.#all('chaos.register', (row) => row.n);
    this.violations.push(...checkCounters(this.counters, numbers));
    const before = [...this.ended];
    for (const era of [...this.registers.keys()]) await this.#endEra(era);
    const now = new Map();
    for (const [doc] of before) now.set(doc, await this.cluster.insist('GET', `/chaos.register/${doc}`, {}, [200, 404]));
    this.violations.push(...checkEnded(new Map(before), now));
  }

  /** All conflicts are resolved, and their traces go, whatever waited for whom. */
  async #verifyCleaned() {
    let rows;
    let least = Infinity;
    for (let end = 0; least > 0 && (end === 0 || performance.now() < end); await sleep(RETRY_MOST_MS)) {
      rows = (await this.cluster.insist('GET', '/_/conflicts?limit=10000', {}, [200], CLEANED_MS)).json;
      if (rows.length < least) end = performance.now() + CLEANED_MS;
      least = Math.min(least, rows.length);
    }
    const shown = await this.#all('chaos.tags', (row) => row._conflicts?.length ?? 0, '&conflicts=true');
    this.violations.push(...checkCleaned(rows, [...shown].filter(([, count]) => count > 0).map(([id]) => id)));
    const { json } = await this.cluster.insist('GET', '/system.resolutions?count=true');
    this.violations.push(...checkReached({ 'resolution of a conflict': json.documentCount, ...this.counts(false) }));
  }

  /** disksLost: as checkTags wants them, by performance.now(). */
  async verify(disksLost) {
    for (const part of this.parts) await part.verify();
    await this.#verifyCleaned();
    const values = await this.#all('chaos.set', (row) => row.value);
    const { lost, violations } = checkSet(this.set, values);
    const resurrected = checkDeleted(this.deleted, values);
    this.violations.push(...violations.filter((text) => !resurrected.some((id) => text.startsWith(`${id} `))));
    await this.#verifyRegisters();
    lost.push(...checkProbes(this.probed, await this.#all('chaos.probe', (row) => row.n)));
    lost.push(...checkTags(this.tags, await this.#all('chaos.tags', (row) => row.tags), disksLost));
    return { lost, resurrected, violations: this.violations };
  }
}
