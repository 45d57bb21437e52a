// Conflicts that clients decide: shared, leased, answered once; redelivered when a client, a gateway or a lead dies;
// waiting on disk when nobody is there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Agent, get as httpsGet } from 'node:https';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import WebSocket from 'ws';
import { ROOT, check, startCluster, until } from './lib.mjs';

const DEADLINE_MS = 30000;
const KEEP_MS = 3600000;
const OPEN_COUNT = 100;
const COLLECTIONS = ['socket', 'one', 'shared', 'lost', 'moved', 'many', 'odd'];
const STORAGE = ['storage-1', 'storage-2', 'storage-3'];

let cluster;
let tls; // with the role
let agent;
const test = (what, body) => check(() => cluster, what, body);
const bare = (etag) => etag.replaceAll('"', '');

async function diverge(c, path, base, online, offline) {
  const first = await c.insist('PUT', path, { body: base });
  const second = await c.insist('PUT', path, { body: online, headers: { 'If-Match': first.etag } });
  const third = await c.insist('PUT', `${path}?branch=true`, { body: offline, headers: { 'If-Match': first.etag } });
  return { online: bare(second.etag), offline: bare(third.etag) };
}

const take = (c, body, options) => c.send('POST', '/_/arbiter/_take', { body, agent, ...options });
const answer = (c, lease, body, options) => c.send('POST', `/_/arbiter/${lease}/answer`, { body, agent, ...options });
const renew = (c, lease, body) => c.send('PUT', `/_/arbiter/${lease}`, { body, agent });
const open = async (c, collection) => (await c.insist('GET', `/_/conflicts?collection=${collection}&state=open`)).json;

/** Takes until there are so many, whatever comes in between. */
async function takeAll(c, collection, count, leaseMs, options) {
  const taken = [];
  await until(`${count} conflicts of ${collection} are taken`, DEADLINE_MS, async () => {
    const { status, json } = await take(c, { collections: [collection], limit: 64, leaseMs, waitMs: 500 }, options);
    if (status === 200) taken.push(...json);
    return taken.length >= count;
  });
  return taken;
}

async function decideAll(c, collection, count) {
  let decided = 0;
  await until(`${collection} is decided`, 2 * DEADLINE_MS, async () => {
    const { status, json } = await take(c, { collections: [collection], limit: 16, leaseMs: 20000, waitMs: 200 });
    for (const conflict of status === 200 ? json : []) {
      const { status: told } = await answer(c, conflict.lease, { pick: conflict.versions[0].rev });
      if (told === 200) decided++;
    }
    return decided >= count && (await open(c, collection)).length === 0;
  });
  return decided;
}

/** Over a WebSocket: what was said, and what has come and was not looked at yet. */
async function connect(c, gateway = 1, options = tls) {
  const socket = new WebSocket(c.url('/_/arbiter/_socket', gateway).href.replace('https:', 'wss:'), options);
  const frames = [];
  socket.on('message', (data) => frames.push(JSON.parse(data)));
  socket.on('close', (code) => { socket.code = code; });
  await new Promise((done, fail) => socket.on('open', done).on('error', fail));
  socket.next = async (what, is) => {
    await until(what, DEADLINE_MS, () => frames.some(is) || (socket.code && assert.fail(`closed: ${socket.code}`)), 10);
    return frames.splice(frames.findIndex(is), 1)[0];
  };
  socket.conflict = async (id) => (await socket.next(`conflict ${id}`, ({ conflict }) => conflict?.id === id)).conflict;
  socket.ask = (ref, frame) => {
    socket.send(JSON.stringify({ ref, ...frame }));
    return socket.next(`the answer to ${ref}`, (told) => told.ref === ref);
  };
  return socket;
}

function startClient(c, ...collections) {
  return startExample(c, 'arbiter-client.mjs', collections);
}

function startExample(c, name, collections) {
  const env = {
    ...process.env,
    PARLEY_URLS: [1, 2].map((number) => c.url('/', number).href).join(' '),
    PARLEY_URL: c.url('/').href,
    PARLEY_CA: join(c.dir, 'keys/ca.crt'),
    PARLEY_CERT: join(c.dir, 'keys/decider.crt'),
    PARLEY_KEY: join(c.dir, 'keys/decider.key'),
    LEASE_MS: '2000',
  };
  const child = spawn(process.execPath, [join(ROOT, 'docs/examples', name), ...collections], { env, cwd: join(ROOT, 'tests/e2e'), stdio: ['ignore', 'pipe', 'pipe'] });
  child.told = '';
  child.stdout.on('data', (part) => { child.told += part; });
  child.stderr.on('data', (part) => { child.told += part; });
  return child;
}

describe('conflicts that clients decide', () => {
  before(async () => {
    cluster = await startCluster('external', { gateways: 2 });
    const pem = (file) => readFileSync(join(cluster.dir, 'keys', file));
    tls = { ca: pem('ca.crt'), cert: pem('decider.crt'), key: pem('decider.key') };
    agent = new Agent({ keepAlive: true, maxSockets: 32, ...tls });
    for (const name of COLLECTIONS)
      await cluster.collection(name, { mode: 'available', retainMs: KEEP_MS, shards: 2, policy: { strategy: 'external' } });
    await cluster.collection('late', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'external', deadlineMs: 2000, fallback: 'newest' } });
  });
  after(() => { agent?.destroy(); return cluster?.down(); });

  test('only certificates with the role may take conflicts', async (c) => {
    for (const [method, path] of [['POST', '/_/arbiter/_take'], ['GET', '/_/arbiter/_stream'], ['GET', '/_/arbiter/_socket'], ['PUT', '/_/arbiter/AAAA'], ['POST', '/_/arbiter/AAAA/answer']]) {
      const { status, json } = await c.send(method, path, { body: method === 'GET' ? undefined : {} });
      assert.deepEqual([status, json.code], [403, 'role_needed'], `${method} ${path}`);
    }
  });

  test('a conflict is taken, renewed, answered; twice and late change nothing', async (c) => {
    const made = await diverge(c, '/one/a', { n: 0 }, { n: 1 }, { n: 2 });
    const [conflict] = await takeAll(c, 'one', 1, 20000);
    assert.deepEqual([conflict.collection, conflict.id, conflict.base.document.n], ['one', 'a', 0]);
    assert.deepEqual([...conflict.leaves].sort(), [made.online, made.offline].sort());
    assert.deepEqual((await take(c, { collections: ['one'] })).json, [], 'nobody else gets it');
    assert.deepEqual((await renew(c, conflict.lease, { leaseMs: 30000 })).json, { leaseMs: 30000 });
    const base = await answer(c, conflict.lease, { pick: conflict.base.rev });
    assert.deepEqual([base.status, base.json.place], [400, '/pick'], 'the base is none of the versions, and nothing has moved');
    const stub = { content_type: 'a/b', revpos: 1, digest: 'md5-x', length: 1, content: '0'.repeat(64) };
    const astray = await answer(c, conflict.lease, { document: { _attachments: { 'my/scan': stub } } });
    assert.deepEqual([astray.status, astray.json.code, astray.json.place], [412, 'missing_attachment', '/document/_attachments/my~1scan']);
    const first = await answer(c, conflict.lease, { pick: made.offline });
    assert.equal(first.status, 200, first.text);
    const again = await answer(c, conflict.lease, { pick: made.offline });
    assert.deepEqual([again.status, again.json], [200, first.json]);
    const other = await answer(c, conflict.lease, { pick: made.online });
    assert.deepEqual([other.status, other.json.code], [409, 'lease_lost']);
    assert.equal((await c.get('/one/a')).json.n, 2);
    const { json: [row] } = await c.get('/_/conflicts?collection=one&state=resolved');
    assert.deepEqual([row.detail.strategy, row.detail.answer], ['external', 'pick']);
    assert.equal((await answer(c, 'AAAA', { delete: true })).status, 409);
  });

  test('a version that comes in between: the answer is refused, the conflict comes again', async (c) => {
    const made = await diverge(c, '/one/b', { n: 0 }, { n: 1 }, { n: 2 });
    const [conflict] = await takeAll(c, 'one', 1, 20000);
    await c.insist('PUT', '/one/b', { body: { n: 3 }, headers: { 'If-Match': `"${made.online}"` } });
    await until('the new leaf is there', DEADLINE_MS, async () => (await answer(c, conflict.lease, { delete: true })).json.code === 'leaves_moved' || (await renew(c, conflict.lease)).status === 409);
    const [moved] = await takeAll(c, 'one', 1, 20000);
    assert.deepEqual(moved.versions.map((version) => version.document.n).sort(), [2, 3]);
    assert.equal((await answer(c, moved.lease, { delete: true })).status, 200);
    assert.equal((await c.get('/one/b')).status, 404);
  });

  test('defer and release', async (c) => {
    await diverge(c, '/one/c', { n: 0 }, { n: 1 }, { n: 2 });
    const [conflict] = await takeAll(c, 'one', 1, 20000);
    assert.equal((await answer(c, conflict.lease, { defer: 1000 })).status, 200);
    assert.deepEqual((await take(c, { collections: ['one'] })).json, []);
    const [later] = await takeAll(c, 'one', 1, 20000);
    assert.equal((await answer(c, later.lease, { release: true })).status, 200);
    const [next] = await takeAll(c, 'one', 1, 20000);
    assert.equal((await answer(c, next.lease, { document: { n: 12 } })).status, 200);
    assert.equal((await c.get('/one/c')).json.n, 12);
  });

  test('values of all kinds come and go unchanged', async (c) => {
    const odd = 'spaces, "quotes"\n\t^ ; \\ \u0001 \u{1f600} and so on';
    const large = 'x^;\n '.repeat(1 << 18).slice(0, 1 << 20);
    await diverge(c, `/odd/${encodeURIComponent('a b;^c')}`, { v: '' }, { v: odd }, { v: large });
    const [conflict] = await takeAll(c, 'odd', 1, 20000);
    assert.equal(conflict.id, 'a b;^c');
    assert.deepEqual(conflict.versions.map((version) => version.document.v).sort(), [odd, large].sort());
    const told = await answer(c, conflict.lease, { document: { both: [odd, large] } });
    assert.equal(told.status, 200, told.text);
    assert.deepEqual((await c.get(`/odd/${encodeURIComponent('a b;^c')}`)).json.both, [odd, large]);
  });

  test('two clients share the work; what a killed one held comes to the other', async (c) => {
    const clients = [startClient(c, 'shared'), startClient(c, 'shared')];
    try {
      for (let i = 0; i < 12; i++) await diverge(c, `/shared/d${i}`, { tags: [] }, { tags: ['a'] }, { tags: ['b', i] });
      await until('all are decided', DEADLINE_MS, async () => (await open(c, 'shared')).length === 0);
      for (let i = 0; i < 12; i++) assert.deepEqual((await c.get(`/shared/d${i}`)).json.tags.map(String).sort(), ['a', 'b', String(i)].sort());
      clients[0].kill('SIGKILL');
      for (let i = 0; i < 6; i++) await diverge(c, `/shared/e${i}`, { tags: [] }, { tags: ['a'] }, { tags: ['b'] });
      await until('the other one goes on', DEADLINE_MS, async () => (await open(c, 'shared')).length === 0);
    } catch (error) {
      throw new Error(`${error.message}\n${clients.map((client) => client.told).join('--\n')}`);
    } finally {
      for (const client of clients) client.kill('SIGKILL');
    }
    await diverge(c, '/lost/a', { n: 0 }, { n: 1 }, { n: 2 });
    const [lost] = await takeAll(c, 'lost', 1, 1500); // and says nothing more
    const [found] = await takeAll(c, 'lost', 1, 20000);
    assert.notEqual(found.lease, lost.lease);
    assert.equal((await answer(c, lost.lease, { delete: true })).status, 409, 'late');
    assert.equal((await answer(c, found.lease, { pick: found.leaves[0] })).status, 200);
  });

  test('Server-Sent Events: as many as there is credit for; given back when the client goes', async (c) => {
    for (let i = 0; i < 3; i++) await diverge(c, `/lost/s${i}`, { n: 0 }, { n: 1 }, { n: 2 });
    const events = [];
    let stream;
    await new Promise((done, fail) => {
      stream = httpsGet(c.url('/_/arbiter/_stream?collections=lost&credit=2&leaseMs=60000'), { agent: false, ...tls }, (got) => {
        let text = '';
        got.on('data', (part) => {
          text += part;
          for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
            const data = text.slice(0, end).split('\n').find((line) => line.startsWith('data: '));
            if (data) events.push(JSON.parse(data.slice(6)));
          }
        });
        got.on('error', () => {});
        done();
      });
      stream.on('error', fail);
    });
    stream.on('error', () => {});
    await until('two events', DEADLINE_MS, () => events.length === 2);
    assert.equal((await answer(c, events[0].lease, { pick: events[0].leaves[0] })).status, 200);
    await until('an answer makes room', DEADLINE_MS, () => events.length === 3);
    stream.destroy();
    const back = await takeAll(c, 'lost', 2, 20000);
    assert.deepEqual(back.map((conflict) => conflict.id).sort(), events.slice(1).map((event) => event.id).sort());
    for (const conflict of back) assert.equal((await answer(c, conflict.lease, { delete: true })).status, 200);
  });

  test('a gateway is killed: the lease counts at another one', async (c) => {
    await diverge(c, '/moved/g', { n: 0 }, { n: 1 }, { n: 2 });
    const [conflict] = await takeAll(c, 'moved', 1, 60000, { gateway: 2 });
    c.killNow('gateway-2');
    assert.equal((await answer(c, conflict.lease, { pick: conflict.leaves[0] })).status, 200);
    await c.dev('restart', 'gateway-2');
  });

  test('leads are killed: conflicts are offered again, older leases are void', async (c) => {
    for (let i = 0; i < 4; i++) await diverge(c, `/moved/l${i}`, { n: 0 }, { n: 1 }, { n: 2 });
    const taken = await takeAll(c, 'moved', 4, 600000);
    for (const name of STORAGE) {
      c.killNow(name);
      await c.dev('restart', name);
    }
    for (const name of [...COLLECTIONS, 'late']) await c.served(name);
    const again = await takeAll(c, 'moved', 4, 600000);
    assert.deepEqual([...new Set(again.map((conflict) => conflict.id))].sort(), ['l0', 'l1', 'l2', 'l3']);
    const late = await until('a lead says so', DEADLINE_MS, async () => {
      const told = await answer(c, taken[0].lease, { delete: true });
      return told.status !== 503 && told;
    });
    assert.equal(late.status, 409, late.text);
    for (const conflict of again) await answer(c, conflict.lease, { pick: conflict.leaves[0] });
    await until('all are decided', DEADLINE_MS, async () => (await open(c, 'moved')).length === 0);
  });

  test('over a WebSocket: conflicts come, are renewed, deferred, answered; what is out when it ends is offered again', async (c) => {
    const socket = await connect(c);
    assert.deepEqual(await socket.ask(1, { listen: { collections: ['socket'], credit: 1, leaseMs: 20000 } }), { ref: 1, status: 200 });
    const made = await diverge(c, '/socket/a', { n: 0 }, { n: 1 }, { n: 2 });
    const conflict = await socket.conflict('a');
    assert.deepEqual([conflict.collection, conflict.base.document.n, conflict.leaseMs], ['socket', 0, 20000]);
    await diverge(c, '/socket/b', { n: 0 }, { n: 1 }, { n: 2 });
    assert.deepEqual(await socket.ask('more', { lease: conflict.lease, renew: { leaseMs: 60000 } }), { ref: 'more', status: 200, body: { leaseMs: 60000 } });
    const answered = await socket.ask(2, { lease: conflict.lease, answer: { pick: made.offline } });
    assert.deepEqual([answered.status, answered.body.id], [200, 'a']);
    assert.equal((await c.get('/socket/a')).json.n, 2);
    assert.deepEqual(await socket.ask(3, { lease: conflict.lease, answer: { pick: made.offline } }), { ...answered, ref: 3 }, 'the same again');
    const other = await socket.ask(4, { lease: conflict.lease, answer: { delete: true } });
    assert.deepEqual([other.status, other.body.code], [409, 'lease_lost']);
    const second = await socket.conflict('b');
    assert.deepEqual(await socket.ask(5, { lease: second.lease, answer: { defer: 100 } }), { ref: 5, status: 200, body: { deferred: true } });
    const again = await socket.conflict('b');
    const odd = await socket.ask(6, { lease: again.lease, answer: { pick: '9-f' } });
    assert.deepEqual([odd.status, odd.body.place], [400, '/pick']);
    assert.equal((await socket.ask(7, { lease: again.lease })).status, 400);
    socket.terminate();
    const [given] = await takeAll(c, 'socket', 1, 20000, { gateway: 2 });
    assert.equal(given.id, 'b');
    assert.equal((await answer(c, given.lease, { document: { n: 9 } }, { gateway: 2 })).status, 200);
    await assert.rejects(connect(c, 1, c.tls), /403/);
  });

  test('the example over a WebSocket decides', async (c) => {
    const child = startExample(c, 'arbiter-socket.mjs', ['socket']);
    try {
      for (let i = 0; i < 10; i++) await diverge(c, `/socket/e${i}`, { n: 0 }, { n: 1 }, { n: 2 });
      await until('all are decided', DEADLINE_MS, async () => (await open(c, 'socket')).length === 0);
    } finally {
      child.kill();
    }
    assert.match(child.told, /decided socket\/e9/);
  });

  test('nobody is there: the fallback after the deadline, and the record says so', async (c) => {
    await diverge(c, '/late/a', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await until('it is resolved', DEADLINE_MS, async () => (await c.get('/_/conflicts?collection=late&state=resolved')).json[0]);
    assert.equal(row.detail.fallbackFor, 'deadline');
    assert.ok(row.resolvedAt - row.since >= 2000, JSON.stringify(row));
    assert.equal((await c.get('/late/a')).json.n, 2);
  });

  test(`${OPEN_COUNT} open conflicts survive kill -9 of everything`, async (c) => {
    for (let i = 0; i < OPEN_COUNT; i += 10)
      await Promise.all(Array.from({ length: 10 }, (_, k) => diverge(c, `/many/d${i + k}`, { n: 0 }, { n: 1 }, { n: 2 })));
    await takeAll(c, 'many', 10, 600000);
    const members = ['coordinator-1', ...STORAGE, 'gateway-1', 'gateway-2', 'arbiter-1'];
    for (const name of members) c.killNow(name);
    await c.dev('up');
    assert.equal((await open(c, 'many')).length, OPEN_COUNT);
    assert.equal(await decideAll(c, 'many', OPEN_COUNT), OPEN_COUNT);
  });
});
