// Applications that follow the changes of a collection, through any gateway, and go on behind what they saw last: by events
// (/_/notify), and as CouchDB's do (_changes).
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkFeed, unheard } from './check.mjs';

const WRITERS = 2;
const LISTENERS = 2;
const DOCUMENTS = 4;
const PAUSE_MS = 300;
const SILENCE_MS = 25000; // streams say something every 15 s
const STAY_MS = 20000; // then a listener goes, although nothing is wrong
const POLL_MS = 5000;
const ANEW = 0.02; // of those that poll
const CAUGHT_UP_MS = 180000;
const ERA_MS = 180000; // then the documents are others; what is said of earlier ones is checked and dropped once all have heard it
const COUCH_PORT_OFFSET = -1459; // from the cluster's base

const eraOf = (doc) => Number(/\d+/.exec(doc)[0]);

/** What one was told, and where it goes on. */
class Follower {
  heard = new Map(); // document -> revisions
  id = undefined;
  since = Infinity;
  events = 0;
  breaks = 0;

  constructor(feed, name, each) {
    Object.assign(this, { feed, name, each });
  }

  /** It knows nothing: what it heard until now was in order, more was not promised. */
  beginAnew() {
    this.since = Infinity;
    this.feed.check(this);
    this.heard.clear();
    this.id = undefined;
  }

  hear(doc, revision) {
    if (eraOf(doc) < this.feed.oldest) return;
    if (!this.heard.has(doc)) this.heard.set(doc, []);
    this.heard.get(doc).push(revision);
    this.events++;
  }

  async forever() {
    while (this.feed.following) {
      await this.once();
      this.breaks++;
      await sleep(PAUSE_MS);
    }
  }
}

class Listener extends Follower {
  once() {
    const { cluster, random, gateways } = this.feed.clients;
    if (this.id === undefined) this.beginAnew();
    const url = cluster.url('/_/notify?path=.*:/chaos-feed/', 1 + Math.floor(random() * gateways));
    const headers = this.id === undefined ? {} : { 'Last-Event-ID': this.id };
    return new Promise((done) => {
      const asked = request(url, { ...cluster.tls, headers, timeout: SILENCE_MS }, (answer) => this.#answered(answer));
      const timer = setTimeout(() => asked.destroy(), STAY_MS * (0.2 + random()));
      asked.on('timeout', () => asked.destroy());
      asked.on('error', () => {});
      asked.on('close', () => {
        clearTimeout(timer);
        done();
      });
      asked.end();
    });
  }

  #answered(answer) {
    let rest = '';
    answer.on('error', () => {});
    if (answer.statusCode === 410) this.beginAnew();
    if (answer.statusCode !== 200) return answer.resume();
    this.since = Math.min(this.since, performance.now());
    answer.setEncoding('utf8');
    answer.on('data', (part) => {
      const blocks = (rest + part).split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) this.#take(Object.fromEntries(block.split('\n').map((line) => line.split(/: ?(.*)/s).slice(0, 2))));
    });
  }

  #take({ id, event, data }) {
    if (event === 'error') {
      if (JSON.parse(data).code === 'events_gone') this.beginAnew();
      return;
    }
    if (id !== undefined) this.id = id;
    if (data === undefined) return;
    const { id: doc, revision } = JSON.parse(data);
    this.hear(doc, revision);
  }
}

/** It begins with all that there is, so that it is owed everything. */
class Poller extends Follower {
  since = 0;

  beginAnew() {
    super.beginAnew();
    this.since = 0;
  }

  async once() {
    const { cluster, random, gateways } = this.feed.clients;
    const number = 1 + Math.floor(random() * gateways);
    const base = new URL(`https://${cluster.address(`gateway-${number}`)}:${cluster.base + COUCH_PORT_OFFSET + (number - 1) * 10}`);
    if (random() < ANEW) this.beginAnew();
    const form = random() < 0.5 ? 'feed=normal&limit=20' : 'feed=longpoll&timeout=2000';
    const url = new URL(`/chaos-feed/_changes?${form}&since=${encodeURIComponent(this.id ?? 0)}`, base);
    const { status, json } = await cluster.sendTo(url, { timeoutMs: 2 * POLL_MS }).catch(() => ({ status: 0 }));
    if (status !== 200 || !json) return;
    for (const { id, changes } of json.results) this.hear(id, changes[0].rev);
    this.id = json.last_seq;
  }
}

export class Feed {
  following = true;
  oldest = 1; // era
  #writes = new Map(); // era -> records
  #era = 0;
  #eraEnd = 0;

  constructor(clients) {
    this.clients = clients;
    this.followers = [
      ...Array.from({ length: LISTENERS }, (_, i) => new Listener(this, `listener ${i + 1}`, true)), new Poller(this, 'the poller', false),
    ];
  }

  get counts() {
    return Object.fromEntries(this.followers.flatMap(({ name, events, breaks }) => [[`event for ${name}`, events], [`break of ${name}`, breaks]]));
  }

  start() {
    this.running = Promise.all(this.followers.map((one) => one.forever()));
    return Array.from({ length: WRITERS }, async () => {
      while (this.clients.going) {
        await this.#write();
        await sleep(PAUSE_MS * 2 * this.clients.random());
      }
    });
  }

  async #write() {
    const { clients } = this;
    if (performance.now() > this.#eraEnd) this.#nextEra();
    const doc = `f${this.#era}-${Math.floor(clients.random() * DOCUMENTS)}`;
    const op = { doc, start: performance.now(), status: 0 };
    this.#writes.get(this.#era).push(op);
    const options = clients.random() < 0.1 ? ['DELETE', {}] : ['PUT', { body: { n: ++clients.number } }];
    const { status, etag, json } = clients.told(await clients.ask(options[0], `/chaos-feed/${doc}`, options[1]));
    if (json?.code !== 'outcome_unknown') Object.assign(op, { status, revision: etag?.replaceAll('"', '') });
  }

  #nextEra() {
    this.#eraEnd = performance.now() + ERA_MS;
    this.#writes.set(++this.#era, []);
    while (this.oldest < this.#era - 1 && this.#complete(this.oldest)) this.#drop(this.oldest);
  }

  #complete(era) {
    return this.followers.every((one) => unheard(this.#writes.get(era), one).length === 0);
  }

  #drop(era) {
    for (const one of this.followers) {
      const heard = new Map([...one.heard].filter(([doc]) => eraOf(doc) === era));
      this.clients.violations.push(...checkFeed(this.#writes.get(era), { ...one, heard }));
      for (const doc of heard.keys()) one.heard.delete(doc);
    }
    this.#writes.delete(era);
    this.oldest = era + 1;
  }

  /** All that is kept of it. */
  check(follower) {
    this.clients.violations.push(...checkFeed([...this.#writes.values()].flat(), follower));
  }

  async verify() {
    const end = performance.now() + CAUGHT_UP_MS;
    while (performance.now() < end && ![...this.#writes.keys()].every((era) => this.#complete(era))) await sleep(PAUSE_MS);
    for (const era of [...this.#writes.keys()]) this.#drop(era);
    this.following = false;
    await this.running;
  }
}
