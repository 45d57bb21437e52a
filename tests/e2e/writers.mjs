// Clients that write as fast as they can and remember what they were promised, and what the cluster has to show for it
// afterwards: every acknowledged write, and no write in part.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

const RETRY_MS = 50;
const FILLER = 'f'.repeat(300);

/** What document `n` of a writer must look like as a whole. */
function contents(writer, n) {
  return { writer, n, twice: 2 * n, filler: FILLER, last: `${writer}-${n}` };
}

export class Writers {
  acknowledged = new Map(); // id -> body
  counters = []; // of each writer: { acknowledged, tried }
  attempts = 0;
  #going = true;
  #running;

  constructor(cluster, collection, { count = 6, gateways = 2, accept = [200, 201] } = {}) {
    this.cluster = cluster;
    this.collection = collection;
    this.gateways = gateways;
    this.accept = accept;
    this.run = Math.random().toString(36).slice(2, 8);
    this.#running = Array.from({ length: count }, (_, writer) => this.#loop(writer));
  }

  async stop() {
    this.#going = false;
    await Promise.all(this.#running);
  }

  /** One request that may fail in any way; true if it was acknowledged. */
  async #put(id, body, key, gateway) {
    this.attempts++;
    try {
      const headers = { 'Idempotency-Key': key };
      const answer = await this.cluster.put(`/${this.collection}/${id}`, body, headers, { gateway, timeoutMs: 8000 });
      return this.accept.includes(answer.status);
    } catch {
      return false;
    }
  }

  async #until(id, body, key, writer) {
    for (let attempt = 0; ; attempt++) {
      if (await this.#put(id, body, key, 1 + ((writer + attempt) % this.gateways))) return true;
      if (!this.#going) return false;
      await sleep(RETRY_MS);
    }
  }

  async #loop(writer) {
    const counter = { acknowledged: 0, tried: 0 };
    this.counters[writer] = counter;
    for (let n = 1; this.#going; n++) {
      const id = `${this.run}-${writer}-${n}`;
      const body = contents(writer, n);
      if (await this.#until(id, body, id, writer)) this.acknowledged.set(id, body);
      counter.tried = n;
      const counted = await this.#until(`${this.run}-counter-${writer}`, contents(writer, n), `c-${id}`, writer);
      if (counted) counter.acknowledged = n;
    }
  }

  /** Everything that was promised is there; what else is there is whole; counts are exact. */
  async verify() {
    const { cluster, collection, run } = this;
    const rows = new Map();
    for (let cursor = ''; cursor !== undefined;) {
      const page = await cluster.insist('GET', `/${collection}?limit=1000&cursor=${encodeURIComponent(cursor)}`);
      for (const { id, ...body } of page.json) rows.set(id, body);
      cursor = page.headers['x-parley-cursor'];
    }
    const lost = [...this.acknowledged.keys()].filter((id) => !rows.has(id));
    assert.deepEqual(lost, [], 'acknowledged and lost');
    for (const [id, body] of rows)
      if (id.startsWith(run)) assert.deepEqual(body, contents(body.writer, body.n), `half a write: ${id}`);
    for (const [writer, counter] of this.counters.entries()) {
      const n = rows.get(`${run}-counter-${writer}`)?.n ?? 0;
      const { acknowledged, tried } = counter;
      assert.ok(n >= acknowledged && n <= tried, `counter ${writer}: ${n}, not from ${acknowledged} to ${tried}`);
    }
    const { json } = await cluster.insist('GET', `/system.collections/${collection}`);
    assert.equal(json.documentCount, rows.size, 'the count is exact');
    return rows.size;
  }
}
