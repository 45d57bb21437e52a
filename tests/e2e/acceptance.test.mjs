// Stories of conflicts that other databases leave to people, each told once from beginning to end: a clinic's records,
// canhazdb's node that was offline, NunDB's arbiters. Where a story is already the subject of another file it is named
// there:
//
// - two documents of different kinds under one id, and who refers to it: collision.test.mjs
// - a hundred open conflicts and kill -9 of everything; an arbiter that comes late or never, deadline and fallback; only
//   the role may take conflicts and answer: external.test.mjs
// - every acknowledged write after kill -9 at any point, the lead dies: durability.test.mjs
// - a follower that was away for long comes back, its content compared: rebuild.test.mjs, tests/chaos, tests/sim
// - a minority refuses writes, no two leads: partition.test.mjs, tests/sim
// - clocks an hour off, and the same winner on all replicas: tests/sim, which sets all clocks so
// - sockets that open, get and watch: canhazdb-socket.test.mjs
//
// What does not hold here, as it is not wanted: the oldest process leads (the coordinator places leads); users are
// replicated (clients have certificates); a version may jump ahead (If-Match names what was read, or is refused); an
// increment of a document in conflict waits (it goes to the version that is shown, and the others stay).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const DONE_MS = 20000;
const KEEP_MS = 3600000;
const STORAGE = ['storage-1', 'storage-2', 'storage-3'];
const GATEWAYS = [1, 2, 3];
const WRITERS = 1002;
const AT_ONCE = 24;

let cluster;
let agent; // with the role of an arbiter
const test = (what, body) => check(() => cluster, what, body);
const bare = (etag) => etag.replaceAll('"', '');
const numbers = (count) => Array.from({ length: count }, (_, n) => n);

async function create(c, path, body) {
  const { status, etag, text } = await c.insist('PUT', path, { body });
  assert.equal(status, 201, text);
  return etag;
}

/** An edit of `base` that was made where nobody could see the others. */
const offline = (c, path, base, body, options) =>
  c.insist(body ? 'PUT' : 'DELETE', `${path}?branch=true`, { body, headers: { 'If-Match': base }, ...options });

/** Two edits of one version, the second made offline; the revisions of all three. */
async function diverge(c, path, base, online, other, options) {
  const first = await create(c, path, base);
  const second = await c.insist('PUT', path, { body: online, headers: { 'If-Match': first }, ...options });
  const third = await offline(c, path, first, other, options);
  return { first: bare(first), online: bare(second.etag), offline: bare(third.etag) };
}

const rows = async (c, query) => (await c.insist('GET', `/_/conflicts?${query}`)).json;
const rowOf = async (c, collection, id) => (await rows(c, `collection=${collection}`)).find((row) => row.id === id);

const resolved = (c, collection, id) => until(`${collection}/${id} is resolved`, DONE_MS, async () => {
  const row = await rowOf(c, collection, id);
  return row?.state === 'resolved' && row;
});

const noneOpen = (c, collection) => until(`${collection} has no open conflict`, DONE_MS,
  async () => (await rows(c, `collection=${collection}&state=open`)).length === 0);

async function history(c, collection, id) {
  const query = encodeURIComponent(JSON.stringify({ collection, ...(id ? { documentId: id } : {}) }));
  return (await c.insist('GET', `/system.resolutions?query=${query}&limit=1000`)).json;
}

/** What one storage node alone has; the others that are `up` stand still meanwhile. */
async function readAt(c, name, path, up = STORAGE) {
  const others = up.filter((other) => other !== name).map((other) => c.pid(other));
  for (const pid of others) process.kill(pid, 'SIGSTOP');
  try {
    return await c.insist('GET', `${path}${path.includes('?') ? '&' : '?'}consistency=any`);
  } finally {
    for (const pid of others) process.kill(pid, 'SIGCONT');
  }
}

async function onEveryReplica(c, path, look, up = STORAGE) {
  for (const name of up)
    await until(`${path} on ${name}`, DONE_MS, async () => look(await readAt(c, name, path, up)));
}

const ask = (c, path, body, gateway = 1) => c.send('POST', `/_/arbiter/${path}`, { body, agent, gateway });

function take(c, collection, { gateway = 1, leaseMs = 20000 } = {}) {
  return until(`a conflict of ${collection} is taken`, DONE_MS, async () => {
    const { status, json } = await ask(c, '_take', { collections: [collection], leaseMs, waitMs: 1000 }, gateway);
    return status === 200 && json[0];
  });
}

/** Events of a stream, until `stop`. */
function listen(c, pattern, gateway) {
  const listener = { events: [], stop: () => listener.sent.destroy() };
  let rest = '';
  return new Promise((done, fail) => {
    listener.sent = request(new URL(`/_/notify?path=${encodeURIComponent(pattern)}`, c.url('/', gateway)), { ...c.tls }, (answer) => {
      answer.setEncoding('utf8');
      answer.on('data', (text) => {
        const blocks = (rest + text).split('\n\n');
        rest = blocks.pop();
        for (const data of blocks.flatMap((block) => block.split('\n')).filter((line) => line.startsWith('data: ')))
          listener.events.push(JSON.parse(data.slice(6)));
      });
      answer.on('error', () => {});
      done(listener);
    });
    listener.sent.on('error', fail);
    listener.sent.end();
  });
}

/** So many at a time. */
async function inBatches(count, size, work) {
  const left = numbers(count);
  await Promise.all(numbers(size).map(async () => {
    while (left.length > 0) await work(left.shift());
  }));
}

describe('stories', () => {
  before(async () => {
    cluster = await startCluster('acceptance', { gateways: 3, arbiters: 2 });
    const pem = (file) => readFileSync(join(cluster.dir, 'keys', file));
    agent = new Agent({ keepAlive: true, maxSockets: 16, ca: pem('ca.crt'), cert: pem('decider.crt'), key: pem('decider.key') });
    const kept = { mode: 'available', retainMs: KEEP_MS };
    const clinic = { paths: { read: 'set', scheduled_tasks: { map: ['id'] } } };
    await cluster.collection('clinic', { ...kept, shards: 1, policy: clinic });
    await cluster.collection('open', { ...kept, shards: 1, policy: { strategy: 'none' } });
    await cluster.collection('newest', { ...kept, shards: 3, policy: { strategy: 'newest' } });
    await cluster.collection('asked', { ...kept, shards: 3, policy: { strategy: 'external' } });
    await cluster.collection('tidy', { mode: 'available', retainMs: 0, shards: 1, policy: { paths: { n: 'counter', names: 'set' } } });
  });
  after(() => { agent?.destroy(); return cluster?.down(); });

  // ---- the clinic ----

  const REGISTERED = { type: 'data_record', form: 'pregnancy', fields: { lmp: '2026-09-01', patient: 'Ada' }, scheduled_tasks: [] };
  const VISITS = ['12 weeks', '20 weeks'].map((text, n) => ({ id: `visit-${n}`, due: `2026-1${n + 1}-20`, text }));

  test('the pregnancy: the user corrects the LMP while sentinel adds messages; both are kept', async (c) => {
    const made = await diverge(c, '/clinic/pregnancy', REGISTERED, { ...REGISTERED, scheduled_tasks: VISITS },
      { ...REGISTERED, fields: { lmp: '2026-08-24', patient: 'Ada' } });
    const row = await resolved(c, 'clinic', 'pregnancy');
    assert.deepEqual([...row.leaves].sort(), [made.online, made.offline].sort());
    const read = await c.get('/clinic/pregnancy?conflicts=true');
    assert.deepEqual(read.json, { id: 'pregnancy', ...REGISTERED, fields: { lmp: '2026-08-24', patient: 'Ada' }, scheduled_tasks: VISITS, _conflicts: [] });
    assert.equal(read.headers['x-parley-conflicts'], undefined);
  });

  test('the pregnancy, both online: the second is told before anything is lost, and of what', async (c) => {
    const first = await create(c, '/clinic/online', REGISTERED);
    const sentinel = await c.put('/clinic/online', { ...REGISTERED, scheduled_tasks: VISITS }, { 'If-Match': first });
    const user = await c.put('/clinic/online', { ...REGISTERED, fields: { lmp: '2026-08-24' } }, { 'If-Match': first });
    assert.deepEqual([user.status, user.json.current], [409, bare(sentinel.etag)], user.text);
    assert.equal(await rowOf(c, 'clinic', 'online'), undefined, 'which is no conflict');
  });

  test('read by some_user and by admin at the same time: both are in the list', async (c) => {
    const data = { data: 'some shared data' };
    await diverge(c, '/clinic/read', { ...data, read: [] }, { ...data, read: ['some_user'] }, { ...data, read: ['admin'] });
    await resolved(c, 'clinic', 'read');
    const { json } = await c.get('/clinic/read');
    assert.deepEqual({ ...json, read: json.read.sort() }, { id: 'read', ...data, read: ['admin', 'some_user'] });
  });

  // ---- NunDB: where the arbiter is ----

  for (const [where, writers, arbiter] of [
    ['an arbiter at the node of the writes', [1, 1], 1],
    ['an arbiter at another node than the writes', [1, 1], 2],
    ['writes at two nodes, the arbiter at the third', [1, 2], 3],
  ]) {
    test(`${where}: it is asked once, and its word holds everywhere`, async (c) => {
      const id = `at-${writers.join('')}-${arbiter}`;
      const first = await create(c, `/asked/${id}`, { name: 'mateus' });
      const jose = await c.insist('PUT', `/asked/${id}`, { body: { name: 'jose' }, headers: { 'If-Match': first }, gateway: writers[0] });
      await offline(c, `/asked/${id}`, first, { name: 'mary' }, { gateway: writers[1] });
      const taken = await take(c, 'asked', { gateway: arbiter });
      assert.equal(taken.id, id);
      assert.deepEqual(taken.versions.map((version) => version.document.name).sort(), ['jose', 'mary']);
      assert.deepEqual((await ask(c, '_take', { collections: ['asked'] })).json, [], 'nobody else is');
      const told = await ask(c, `${taken.lease}/answer`, { pick: bare(jose.etag) }, arbiter);
      assert.equal(told.status, 200, told.text);
      for (const gateway of GATEWAYS) {
        const read = await c.get(`/asked/${id}`, { gateway });
        assert.deepEqual([read.json.name, bare(read.etag)], ['jose', told.json.rev]);
      }
      assert.equal((await history(c, 'asked', id)).length, 1);
    });
  }

  test('an arbiter nowhere: nothing is refused and nothing lost, and who comes later is asked', async (c) => {
    const made = await diverge(c, '/asked/nowhere', { name: 'mateus' }, { name: 'jose' }, { name: 'mary' });
    const lead = await until('it is told how many wait', DONE_MS, async () => {
      for (const name of STORAGE) if ((await c.metric(name, 'parley_external_conflicts_open')) > 0) return name;
      return undefined;
    });
    assert.ok(lead);
    assert.equal((await c.get('/asked/nowhere')).headers['x-parley-conflicts'], '1');
    const taken = await take(c, 'asked');
    assert.deepEqual([...taken.leaves].sort(), [made.online, made.offline].sort());
    assert.equal((await ask(c, `${taken.lease}/answer`, { document: { name: 'mary jose' } })).status, 200);
  });

  test('the database\'s own arbiter: one conflict at each lead, whoever leads', async (c) => {
    const ids = numbers(24).map((n) => `lead-${n}`);
    await inBatches(ids.length, 8, (n) => diverge(c, `/newest/${ids[n]}`, { n: 0 }, { n: 1 }, { n: 2 }));
    await noneOpen(c, 'newest');
    for (const id of ids) assert.equal((await c.get(`/newest/${id}`)).json.n, 2);
    const leads = await Promise.all(STORAGE.map(async (name) => (await c.node(name)).leads));
    assert.ok(leads.every((count) => count > 0), `leads: ${leads}`);
  });

  // ---- NunDB: what else its tests and lists say ----

  test('three conflicting writes: one conflict with all versions; nobody sees another value until it is resolved', async (c) => {
    const first = await create(c, '/open/chain', { name: 'mateus' });
    await c.insist('PUT', '/open/chain', { body: { name: 'mateus', last: 'x' }, headers: { 'If-Match': first } });
    const winner = (await c.get('/open/chain')).text;
    for (const n of [1, 2, 3]) await offline(c, '/open/chain', first, { name: `change-${n}` }, { gateway: n });
    const row = await until('all are leaves', DONE_MS, async () => {
      const found = await rowOf(c, 'open', 'chain');
      return found?.leaves.length === 4 && found;
    });
    const names = await Promise.all(row.leaves.map(async (leaf) => (await c.get(`/open/chain?rev=${leaf}`)).json.name));
    assert.deepEqual(names.sort(), ['change-1', 'change-2', 'change-3', 'mateus']);
    const seen = (await c.get('/open/chain')).text;
    assert.ok(names.includes(JSON.parse(seen).name));
    if (JSON.parse(seen).name === 'mateus') assert.equal(seen, winner);
    await onEveryReplica(c, '/open/chain', (read) => read.text === seen && read.headers['x-parley-conflicts'] === '3');
  });

  test('of writers with the same If-Match, over all gateways, exactly one gets 200', async (c) => {
    let etag = await create(c, '/open/race', { n: 0 });
    for (let round = 1; round <= 5; round++) {
      const answers = await Promise.all(numbers(21).map((n) => c.put('/open/race', { round, n }, { 'If-Match': etag }, { gateway: 1 + n % 3 })));
      const won = answers.filter((answer) => answer.status === 200);
      assert.equal(won.length, 1, answers.map((answer) => answer.status).join());
      assert.ok(answers.every((answer) => [200, 409].includes(answer.status)));
      [{ etag }] = won;
    }
    const ahead = await c.put('/open/race', { n: 'ahead' }, { 'If-Match': `"9-${'f'.repeat(32)}"` });
    assert.equal(ahead.status, 409, 'a version that is not there yet');
  });

  test('two arbiters, one of them stands still: each conflict has one resolution', async (c) => {
    const ids = numbers(20).map((n) => `slow-${n}`);
    const pid = c.pid('arbiter-1');
    await inBatches(10, 5, (n) => diverge(c, `/newest/${ids[n]}`, { n: 0 }, { n: 1 }, { n: 2 }));
    process.kill(pid, 'SIGSTOP');
    try {
      await inBatches(10, 5, (n) => diverge(c, `/newest/${ids[10 + n]}`, { n: 0 }, { n: 1 }, { n: 2 }));
      await noneOpen(c, 'newest');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await c.ready('arbiter-1');
    const done = await history(c, 'newest');
    for (const id of ids) assert.equal(done.filter((row) => row.documentId === id).length, 1, id);
  });

  test('of two clients the slow one comes too late: one answer counts, and the other is told', async (c) => {
    await diverge(c, '/asked/slow', { n: 0 }, { n: 1 }, { n: 2 });
    const slow = await take(c, 'asked', { leaseMs: 300 });
    const quick = await take(c, 'asked', { gateway: 2 });
    assert.equal(quick.id, slow.id);
    assert.equal((await ask(c, `${quick.lease}/answer`, { document: { n: 'quick' } }, 2)).status, 200);
    const late = await ask(c, `${slow.lease}/answer`, { document: { n: 'slow' } });
    assert.deepEqual([late.status, late.json.code], [409, 'lease_lost']);
    assert.equal((await c.get('/asked/slow')).json.n, 'quick');
    assert.equal((await history(c, 'asked', 'slow')).length, 1);
  });

  test('a resolution, sent to whichever gateway, is on every replica, and one event to each who listens', async (c) => {
    const made = await diverge(c, '/open/told', { n: 0 }, { n: 1 }, { n: 2 });
    const listeners = await Promise.all([1, 2].map((gateway) => listen(c, '/open/', gateway)));
    const body = { leaves: [made.online, made.offline], document: { n: 3 } };
    const done = await c.post('/_/conflicts/open/told/resolve', body, {}, { gateway: 3 });
    assert.equal(done.status, 200, done.text);
    await c.put('/open/after', { n: 0 });
    for (const listener of listeners) {
      await until('the next event', DONE_MS, () => listener.events.some((event) => event.id === 'after'));
      assert.deepEqual(listener.events.filter((event) => event.id === 'told').map((event) => event.revision), [done.json.rev]);
      listener.stop();
    }
    await onEveryReplica(c, '/open/told', (read) => bare(read.etag) === done.json.rev && read.json.n === 3);
  });

  test('ids that are parts of each other: their conflicts have nothing to do with each other', async (c) => {
    const ids = ['a', 'ab', 'a_1'];
    const made = {};
    for (const id of ids) made[id] = await diverge(c, `/open/${id}`, { id, n: 0 }, { id, n: 1 }, { id, n: 2 });
    const leaves = (id) => [made[id].online, made[id].offline];
    assert.equal((await c.post('/_/conflicts/open/ab/resolve', { leaves: leaves('ab'), delete: true })).status, 200);
    assert.equal((await c.post('/_/conflicts/open/a/resolve', { leaves: leaves('a'), pick: made.a.offline })).status, 200);
    assert.equal((await c.get('/open/ab')).status, 404);
    const [a, left] = [await c.get('/open/a'), await c.get('/open/a_1')];
    assert.deepEqual([a.json.n, a.headers['x-parley-conflicts']], [2, undefined]);
    assert.equal(left.headers['x-parley-conflicts'], '1');
    assert.equal((await rowOf(c, 'open', 'a_1')).state, 'open');
  });

  test('values with spaces, ;, ^ and line ends, and of 4 MiB: the same bytes at the arbiter and on every replica', async (c) => {
    const odd = ' a  b; remove x ^ \\^ \n\r\t "q" \u{1f600} <Empty> $conflicts_a -2 ';
    const large = odd.repeat(Math.ceil((4 << 20) / Buffer.byteLength(odd)));
    const made = await diverge(c, `/asked/${encodeURIComponent('odd ;^')}`, { v: '' }, { v: large }, { v: odd });
    const taken = await take(c, 'asked', { gateway: 3 });
    const seen = Object.fromEntries(taken.versions.map((version) => [version.rev, version.document.v]));
    assert.ok(seen[made.online] === large && seen[made.offline] === odd);
    assert.equal((await ask(c, `${taken.lease}/answer`, { pick: made.online }, 3)).status, 200);
    await onEveryReplica(c, `/asked/${encodeURIComponent('odd ;^')}`, (read) => read.json.v === large);
  });

  test('increments and deletions of a document in conflict go to one version; the others stay as they are', async (c) => {
    const made = await diverge(c, '/open/inc', { n: 0 }, { n: 10 }, { n: 20 });
    const update = { 'Content-Type': 'application/vnd.parley.update+json' };
    const winner = bare((await c.get('/open/inc')).etag);
    const [other] = [made.online, made.offline].filter((leaf) => leaf !== winner);
    const added = await c.send('PATCH', '/open/inc', { body: { $inc: { n: 1 } }, headers: update });
    assert.equal(added.status, 200, added.text);
    assert.equal(added.headers['x-parley-conflicts'] ?? (await c.get('/open/inc')).headers['x-parley-conflicts'], '1');
    assert.deepEqual((await rowOf(c, 'open', 'inc')).leaves.sort(), [bare(added.etag), other].sort());
    assert.equal((await c.get('/open/inc')).json.n % 10, 1);
    const gone = await c.send('DELETE', '/open/inc', { headers: { 'If-Match': added.etag } });
    assert.equal(gone.status, 200, gone.text);
    const left = await c.get('/open/inc');
    assert.deepEqual([bare(left.etag), left.json.n % 10], [other, 0], 'what nobody deleted is shown');
  });

  test('who has no role can neither take conflicts nor answer them', async (c) => {
    for (const [method, path] of [['POST', '_take'], ['GET', '_stream'], ['POST', 'AAAA/answer'], ['PUT', 'AAAA']]) {
      const { status, json } = await c.send(method, `/_/arbiter/${path}`, { body: method === 'GET' ? undefined : {} });
      assert.deepEqual([status, json.code], [403, 'role_needed'], path);
    }
    const none = await ask(c, '_take', { limit: 0 });
    assert.deepEqual([none.status, none.json.place], [400, '/limit']);
  });

  test('a reader reads documents; of conflicts it can neither list, nor see, nor decide any, and it changes nothing', async (c) => {
    const made = await diverge(c, '/open/read', { n: 0 }, { n: 1 }, { n: 2 });
    const pem = (file) => readFileSync(join(c.dir, 'keys', file));
    const viewer = new Agent({ keepAlive: true, ca: pem('ca.crt'), cert: pem('viewer.crt'), key: pem('viewer.key') });
    const as = (method, path, body) => c.send(method, path, { agent: viewer, body });
    const read = await as('GET', '/open/read');
    assert.deepEqual([read.status, read.headers['x-parley-conflicts']], [200, '1'], 'but it is told that there is one');
    assert.deepEqual((await as('POST', '/open/_query', { query: { id: 'read' } })).json.map((row) => row.n), [read.json.n]);
    const leaves = [made.online, made.offline];
    for (const [method, path, body] of [
      ['GET', '/_/conflicts'], ['GET', '/system.conflicts'], ['POST', '/system.conflicts/_query', {}], ['GET', '/system.resolutions'],
      ['GET', '/_/conflicts/open/read'], ['POST', '/_/conflicts/open/read/resolve', { leaves, pick: leaves[0] }],
      ['POST', '/_/policies/_test', { collection: 'open' }], ['POST', '/_/arbiter/_take', {}], ['GET', '/_/arbiter/_stream'],
      ['PUT', '/open/read', { n: 3 }], ['PATCH', '/open/read', { n: 3 }], ['DELETE', '/open/read'], ['POST', '/open', { n: 3 }],
      ['DELETE', '/open?query={}'], ['PUT', '/system.policies/open', { strategy: 'newest' }], ['POST', '/_/collections', { name: 'more' }],
      ['POST', '/_/locks', ['open']], ['GET', '/system.policies'], ['GET', '/system.policies/open'], ['POST', '/system.policies/_query', {}],
      ['GET', '/system.checkpoints'], ['GET', '/_/checkpoints/open/phone'], ['GET', '/system.nodes'], ['GET', '/system.locks']]) {
      const { status, json } = await as(method, path, body);
      assert.deepEqual([status, json.code], [403, 'forbidden'], `${method} ${path}`);
    }
    const lists = await as('GET', '/system.collections');
    assert.equal(lists.status, 200, lists.text);
    assert.ok(lists.json.some((row) => row.collectionId === 'open'));
    assert.ok(lists.json.every((row) => !('policy' in row)), 'policies are not for readers');
    viewer.destroy();
    assert.deepEqual((await rowOf(c, 'open', 'read')).leaves.sort(), leaves.sort());
  });

  test(`${WRITERS} conflicting writes to one document: every one is in the result`, async (c, t) => {
    const begun = Date.now();
    const first = await create(c, '/tidy/crowd', { n: 0, names: [] });
    const write = (n) => offline(c, '/tidy/crowd', first, { n: 1, names: [`writer-${n}`] }, { gateway: 1 + n % 3 });
    await inBatches(WRITERS, AT_ONCE, write);
    const wrote = Date.now();
    await noneOpen(c, 'tidy');
    const { json, headers } = await c.get('/tidy/crowd');
    assert.deepEqual(json.names.sort(), numbers(WRITERS).map((n) => `writer-${n}`).sort());
    assert.equal(json.n, WRITERS);
    assert.equal(headers['x-parley-conflicts'], undefined);
    t.diagnostic(`written in ${wrote - begun} ms, resolved ${Date.now() - wrote} ms later`);
  });

  // ---- canhazdb: the node that was offline ----

  test('a node is offline while a conflict is resolved: it learns of it, and only then the losers go', async (c) => {
    const away = 'storage-3';
    const cleaned = (name) => c.metric(name, 'parley_cleanups_applied_total');
    await until('all is tidy', DONE_MS, async () => (await rows(c, 'collection=tidy')).length === 0);
    await c.dev('kill', away);
    await until('nothing is led by it', DONE_MS, async () => (await c.node(away)).leads === 0);
    await c.served('tidy');
    const made = await diverge(c, '/tidy/offline', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await until('it is resolved, and said who is waited for', DONE_MS, async () => {
      const found = await rowOf(c, 'tidy', 'offline');
      return found?.cleanup?.state === 'waiting' && found;
    });
    assert.deepEqual(row.cleanup.for, [away]);
    for (const [rev, n] of [[made.online, 1], [made.offline, 2]])
      await onEveryReplica(c, `/tidy/offline?rev=${rev}`, (read) => read.json.n === n, STORAGE.filter((name) => name !== away));
    await c.dev('restart', away);
    await until('the traces are gone', DONE_MS, async () => (await rowOf(c, 'tidy', 'offline')) === undefined);
    for (const name of STORAGE) await until(`${name} has cleaned up`, DONE_MS, async () => (await cleaned(name)) > 0);
    await onEveryReplica(c, '/tidy/offline', (read) => bare(read.etag) === row.result && read.json.n === 3);
  });
});
