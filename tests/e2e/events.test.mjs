// Server-Sent Events: what changed, once, in spite of broken connections, other gateways and lost nodes.
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const WAIT_MS = 15000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const open = new Set();

/** One stream; `events` grows, `lastId` is what a browser would go on from. */
class Listener {
  events = [];
  lastId = undefined;
  ended = false;
  #rest = '';

  static async start(patterns, { gateway = 1, headers = {}, since } = {}) {
    const self = new Listener();
    const url = cluster.url('/_/notify', gateway);
    for (const pattern of patterns) url.searchParams.append('path', pattern);
    if (since) url.searchParams.set('since', since);
    await new Promise((done, fail) => {
      self.sent = request(url, { ...cluster.tls, headers }, (answer) => {
        self.answer = answer;
        answer.setEncoding('utf8');
        answer.on('data', (text) => self.#take(text));
        answer.on('close', () => (self.ended = true));
        answer.on('error', () => (self.ended = true));
        done();
      });
      self.sent.on('error', (error) => (self.answer ? (self.ended = true) : fail(error)));
      self.sent.end();
    });
    assert.equal(self.answer.statusCode, 200);
    open.add(self);
    return self;
  }

  #take(text) {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').filter((line) => !line.startsWith(':')).map((line) => line.split(/: ?(.*)/s)));
      if (fields.id !== undefined) this.lastId = fields.id;
      if (fields.data !== undefined) this.events.push({ type: fields.event ?? 'message', ...JSON.parse(fields.data) });
    }
  }

  paths() {
    return this.events.map((event) => event.path);
  }

  until(path) {
    return until(`the event ${path}`, WAIT_MS, () => this.paths().includes(path));
  }

  stop() {
    this.sent.destroy();
    open.delete(this);
  }
}

describe('Server-Sent Events', () => {
  before(async () => {
    cluster = await startCluster('events', { gateways: 2 });
    await cluster.collection('news');
  });
  after(async () => {
    for (const listener of open) listener.stop();
    await cluster?.down();
  });

  test('a stream of events, whichever gateway took the write; each names path, collection, id and revision', async (c) => {
    const listener = await Listener.start(['POST:/news/.*', 'DELETE']);
    assert.match(listener.answer.headers['content-type'], /^text\/event-stream/);
    assert.match(listener.answer.headers['x-request-id'], /./);
    const made = await c.post('/news', { id: 'one' }, {}, { gateway: 2 });
    await c.put('/news/one', { n: 2 });
    await c.send('DELETE', '/news/one', { gateway: 2 });
    await c.post('/other', { id: 'two' });
    await c.post('/news', { id: 'last' });
    await listener.until('POST:/news/last');
    assert.deepEqual(listener.paths().sort(), ['DELETE:/news/one', 'POST:/news/last', 'POST:/news/one']);
    const [first] = listener.events;
    assert.deepEqual([first.collection, first.id, `"${first.revision}"`, first.pattern], ['news', 'one', made.etag, 'POST:/news/.*']);
    listener.stop();
  });

  test('Last-Event-ID goes on where it was, at the other gateway too: nothing lost, nothing twice', async (c) => {
    const listener = await Listener.start(['/gap/']);
    for (let n = 0; n < 5; n++) await c.post('/gap', { id: `a${n}` });
    await until('five events', WAIT_MS, () => listener.events.length === 5);
    listener.stop();
    for (let n = 0; n < 20; n++) await c.post('/gap', { id: `b${n}` }, {}, { gateway: 1 + (n % 2) });
    const byHeader = await Listener.start(['/gap/'], { gateway: 2, headers: { 'Last-Event-ID': listener.lastId } });
    const byParameter = await Listener.start(['/gap/'], { since: listener.lastId });
    await c.post('/gap', { id: 'end' });
    for (const again of [byHeader, byParameter]) {
      await again.until('POST:/gap/end');
      const wanted = [...Array.from({ length: 20 }, (_, n) => `POST:/gap/b${n}`), 'POST:/gap/end'];
      assert.deepEqual(again.paths().sort(), wanted.sort());
      again.stop();
    }
  });

  test('a storage node is killed: the stream goes on, and tells each write once', async (c) => {
    const listener = await Listener.start(['/lost/']);
    const put = (n) => c.insist('PUT', `/lost/d${n}`, { body: { n }, headers: { 'Idempotency-Key': `lost-${n}` }, gateway: 1 + (n % 2) });
    for (let n = 0; n < 10; n++) await put(n);
    await c.dev('kill', 'storage-1');
    for (let n = 10; n < 30; n++) await put(n);
    await c.dev('restart', 'storage-1');
    await c.ready('storage-1');
    for (let n = 30; n < 35; n++) await put(n);
    const wanted = Array.from({ length: 35 }, (_, n) => `PUT:/lost/d${n}`);
    await until('all events', WAIT_MS, () => wanted.every((path) => listener.paths().includes(path)));
    assert.deepEqual(listener.paths().sort(), wanted.sort());
    listener.stop();
  });

  test('its gateway is stopped: the stream ends; it goes on at another', async (c) => {
    const listener = await Listener.start(['/moved/'], { gateway: 2 });
    await c.post('/moved', { id: 'before' });
    await listener.until('POST:/moved/before');
    await c.dev('kill', 'gateway-2');
    await until('the stream ends', WAIT_MS, () => listener.ended);
    await c.post('/moved', { id: 'meanwhile' });
    const again = await Listener.start(['/moved/'], { headers: { 'Last-Event-ID': listener.lastId } });
    await again.until('POST:/moved/meanwhile');
    assert.deepEqual(again.paths(), ['POST:/moved/meanwhile']);
    again.stop();
    await c.dev('restart', 'gateway-2');
    await c.ready('gateway-2');
  });

  test('what is malformed is refused before the stream begins', async (c) => {
    const refused = async (query, code, headers = {}) => {
      const answer = await c.get(`/_/notify?${query}`, { headers });
      assert.deepEqual([answer.status, answer.json?.code], [400, code], `${query}: ${answer.text}`);
      assert.ok(answer.json.place, answer.text);
    };
    await refused('', 'bad_pattern');
    await refused('path=', 'bad_pattern');
    await refused('path=(', 'bad_pattern');
    await refused(`path=${'x'.repeat(1025)}`, 'bad_pattern');
    await refused(Array.from({ length: 65 }, (_, n) => `path=p${n}`).join('&'), /* 64 parameters at most */ 'bad_parameter');
    await refused('path=x', 'bad_parameter', { 'Last-Event-ID': '!!' });
    await refused('path=x&since=MTIz', 'bad_parameter');
  });

  test('a pattern that explodes is cut off with a reason, and the others go on', async (c) => {
    const bad = await Listener.start(['fine/(a+)+$']);
    const good = await Listener.start(['/fine/']);
    await c.post('/fine', { id: `${'a'.repeat(400)}b` });
    await c.post('/fine', { id: 'last' });
    await good.until('POST:/fine/last');
    await until('it is cut off', WAIT_MS, () => bad.ended);
    assert.deepEqual(bad.events.map((event) => [event.type, event.code]), [['error', 'subscription_costly']]);
    good.stop();
  });
});
