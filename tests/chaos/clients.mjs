// What applications do while faults go on, with a record of what they were told. Each loop is one application that waits
// for its answers; all stop at `stop`, and `verify` holds the records against what is there.
import { setTimeout as sleep } from 'node:timers/promises';
import { checkCounters, checkDeleted, checkRegisters, checkSet, checkTags } from './check.mjs';

const REGISTERS = 12;
const COUNTERS = 4;
const TAGGED = 6; // applications, two for each document
const RETRY_MS = 50;
const REQUEST_MS = 8000;
const KEEP_TAGS = 40; // of a document, so that they stay small; then comes the next

export const COLLECTIONS = {
  'chaos.set': {},
  'chaos.register': {},
  'chaos.probe': { shards: 6 },
  'chaos.tags': { mode: 'available', retainMs: 1000, policy: { strategy: 'merge', paths: { tags: 'set' } } },
};


export class Clients {
  going = true;
  acked = 0;
  refused = 0;
  unanswered = 0;
  registers = [];
  set = new Map(); // id -> { acked, value }
  deleted = new Set();
  counters = new Map();
  tags = new Map(); // document -> Set of acknowledged tags
  tagsOf = Array(TAGGED / 2).fill(0); // tried so far, per line of documents
  probes = []; // { doc, start, end }: acknowledged writes

  constructor(cluster, random, { gateways, loops }) {
    this.cluster = cluster;
    this.random = random;
    this.gateways = gateways;
    this.loops = loops;
    this.number = 0;
  }

  start() {
    const some = (count, loop) => Array.from({ length: count }, (_, i) => this.#forever(loop, i));
    this.running = Promise.all([
      ...some(this.loops, this.#insert), ...some(this.loops, this.#register), ...some(COUNTERS, this.#count),
      ...some(TAGGED, this.#tag), ...some(REGISTERS, this.#probe),
    ]);
  }

  async stop() {
    this.going = false;
    await this.running;
  }

  async #forever(loop, i) {
    while (this.going) {
      const done = await loop.call(this, i);
      if (!done) await sleep(RETRY_MS);
    }
  }

  /** One request that may fail in any way: { status: 0 } without an answer. */
  async #ask(method, path, options = {}) {
    try {
      const gateway = 1 + Math.floor(this.random() * this.gateways);
      return await this.cluster.send(method, path, { gateway, timeoutMs: REQUEST_MS, ...options });
    } catch {
      return { status: 0, headers: {} };
    }
  }

  #told(answer) {
    if (answer.status >= 200 && answer.status < 300) this.acked++;
    else if (answer.status === 0 || answer.json?.code === 'outcome_unknown') this.unanswered++;
    else this.refused++;
    return answer;
  }

  /** Asks until it is answered for good; with a key that is harmless. 0: not before the end. */
  async #insist(method, path, body, headers = {}) {
    headers['Idempotency-Key'] = `k${++this.number}-${Math.floor(this.random() * 1e9)}`;
    for (;;) {
      const answer = await this.#ask(method, path, { body, headers });
      if (answer.status !== 0 && answer.status !== 503 && answer.status !== 429 && answer.status !== 507) return this.#told(answer);
      if (!this.going) return this.#told({ status: 0, headers: {} });
      await sleep(RETRY_MS);
    }
  }

  // ---- the workloads ----

  async #insert(client) {
    const value = ++this.number;
    const id = `s${client}-${value}`;
    this.set.set(id, { acked: false, value });
    const answer = await this.#insist('PUT', `/chaos.set/${id}`, { value, filler: 'x'.repeat(200) });
    if (answer.status !== 200 && answer.status !== 201) return false;
    this.set.get(id).acked = true;
    if (this.random() < 0.1) {
      const gone = await this.#insist('DELETE', `/chaos.set/${id}`);
      this.set.delete(id);
      if (gone.status === 200) this.deleted.add(id);
      else this.set.set(id, { acked: false, value });
    }
    return true;
  }

  async #register() {
    const doc = `r${Math.floor(this.random() * REGISTERS)}`;
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
    this.registers.push(op);
    const body = kind === 'put' ? { value } : undefined;
    const answer = await this.#ask(method, `/chaos.register/${doc}`, { headers, body });
    if (kind !== 'get') this.#told(answer);
    if (answer.status === 0 || answer.json?.code === 'outcome_unknown') return answer;
    Object.assign(op, { end: performance.now(), status: answer.status, revision: answer.etag });
    if (kind === 'get') op.value = answer.json?.value;
    return answer;
  }

  async #count(client) {
    const name = `c${client}`;
    if (!this.counters.has(name)) this.counters.set(name, { acked: 0, unknown: 0 });
    const counter = this.counters.get(name);
    const read = await this.#ask('GET', `/chaos.register/${name}`);
    if (read.status !== 200 && read.status !== 404) return false;
    const headers = read.etag ? { 'If-Match': read.etag } : { 'If-None-Match': '*' };
    const answer = await this.#insist('PUT', `/chaos.register/${name}`, { n: (read.json?.n ?? 0) + 1 }, headers);
    if (answer.status === 200 || answer.status === 201) counter.acked++;
    else if (answer.status === 0) counter.unknown++;
    return true;
  }

  async #tag(client) {
    const doc = `t${client % (TAGGED / 2)}-${Math.floor(this.tagsOf[client % (TAGGED / 2)] / KEEP_TAGS)}`;
    if (!this.tags.has(doc)) this.tags.set(doc, new Set());
    const acked = this.tags.get(doc);
    const read = await this.#ask('GET', `/chaos.tags/${doc}`);
    if (read.status !== 200 && read.status !== 404) return false;
    const tag = `g${++this.number}`;
    const body = { tags: [...(read.json?.tags ?? []), tag] };
    const answer = await this.#insist('PUT', `/chaos.tags/${doc}${read.etag ? '?branch=true' : ''}`, body,
      read.etag ? { 'If-Match': read.etag } : { 'If-None-Match': '*' });
    if ([200, 201, 202].includes(answer.status)) acked.add(tag);
    this.tagsOf[client % (TAGGED / 2)]++;
    return true;
  }

  async #probe(i) {
    const doc = `p${i}`;
    const start = performance.now();
    const answer = await this.#ask('PUT', `/chaos.probe/${doc}`, { body: { n: ++this.number } });
    this.#told(answer);
    if (answer.status !== 200 && answer.status !== 201) return false;
    this.probes.push({ doc, start, end: performance.now() });
    await sleep(RETRY_MS);
    return true;
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

  async #all(collection) {
    const rows = new Map();
    for (let cursor = ''; cursor !== undefined;) {
      const page = await this.cluster.insist('GET', `/${collection}?limit=1000&cursor=${encodeURIComponent(cursor)}`, {}, [200], 60000);
      for (const row of page.json) rows.set(row.id, row);
      cursor = page.headers['x-parley-cursor'];
    }
    const { json } = await this.cluster.insist('GET', `/system.collections/${collection}`);
    if (json.documentCount !== rows.size)
      this.violations.push(`${collection} counts ${json.documentCount} documents, a list gives ${rows.size}`);
    return rows;
  }

  async verify() {
    this.violations = [];
    const set = await this.#all('chaos.set');
    const values = new Map([...set].map(([id, row]) => [id, row.value]));
    const { lost, violations } = checkSet(this.set, values);
    const resurrected = checkDeleted(this.deleted, values);
    this.violations.push(...violations.filter((text) => !resurrected.some((id) => text.startsWith(`${id} `))));
    const register = await this.#all('chaos.register');
    this.violations.push(...checkCounters(this.counters, new Map([...register].map(([id, row]) => [id, row.n]))));
    for (let i = 0; i < REGISTERS; i++) await this.#record(`r${i}`, 'get', 'GET');
    this.violations.push(...checkRegisters(this.registers));
    const tagged = await this.#all('chaos.tags');
    lost.push(...checkTags(this.tags, new Map([...tagged].map(([id, row]) => [id, row.tags]))));
    return { lost, resurrected, violations: this.violations };
  }}
