// From a conflict's making to its end, under each policy; and that nothing is cleaned up while a replica is away.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const RESOLVED_MS = 15000;
const REVISION = /^[0-9]+-[0-9a-f]{32}$/;
const KEEP_MS = 3600000;
const MANY = 1002;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function bare(etag) {
  return etag.replaceAll('"', '');
}

async function conflictOf(c, collection, id) {
  const { status, json } = await c.insist('GET', `/_/conflicts?collection=${collection}`);
  assert.equal(status, 200);
  return json.find((row) => row.id === id);
}

function awaitState(c, collection, id, state) {
  return until(`${collection}/${id} is ${state ?? 'forgotten'}`, RESOLVED_MS, async () => {
    const row = await conflictOf(c, collection, id);
    return state ? row?.state === state && row : !row;
  });
}

/** Writes `base`, replaces it by `online`, and brings `offline`, an edit of the base, as a branch. Returns the etags. */
async function diverge(c, path, base, online, offline) {
  const first = await c.put(path, base);
  assert.equal(first.status, 201, first.text);
  const second = await c.put(path, online, { 'If-Match': first.etag });
  assert.equal(second.status, 200, second.text);
  const options = { body: offline, headers: { 'If-Match': first.etag } };
  const third = await c.insist(offline ? 'PUT' : 'DELETE', `${path}?branch=true`, options);
  return { first: first.etag, online: second.etag, offline: third.etag };
}

describe('conflicts', () => {
  before(async () => {
    cluster = await startCluster('conflict');
    const paths = { read: 'set', stock: 'counter', items: { map: ['sku'] } };
    await cluster.collection('none', { mode: 'available', policy: { strategy: 'none' } });
    await cluster.collection('newest', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'newest' } });
    await cluster.collection('oldest', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'oldest' } });
    await cluster.collection('merge', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'merge', paths } });
    await cluster.collection('clean', { mode: 'available', retainMs: 0, policy: { strategy: 'merge', paths } });
    await cluster.collection('many', { mode: 'available', shards: 1, policy: { strategy: 'none' } });
    await cluster.collection('strict');
  });
  after(() => cluster?.down());

  test('none: it stays open, every reader is told, and both versions can be read', async (c) => {
    const made = await diverge(c, '/none/a', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await awaitState(c, 'none', 'a', 'open');
    assert.deepEqual([...row.leaves].sort(), [bare(made.online), bare(made.offline)].sort());
    assert.equal(row.kind, 'edits');
    const read = await Promise.all([1, 2].map((gateway) => c.get('/none/a?conflicts=true', { gateway })));
    for (const answer of read) {
      assert.equal(answer.headers['x-parley-conflicts'], '1');
      assert.deepEqual([answer.etag, answer.text], [read[0].etag, read[0].text], 'all see the same winner');
    }
    const loser = [made.online, made.offline].find((etag) => etag !== read[0].etag);
    assert.deepEqual(read[0].json._conflicts, [bare(loser)]);
    for (const [etag, n] of [[made.online, 1], [made.offline, 2]])
      assert.equal((await c.get(`/none/a?rev=${bare(etag)}`)).json.n, n);
    const named = (await c.get(`/none/a?conflicts=true&rev=${bare(loser)}`)).json;
    assert.deepEqual(named._conflicts, [bare(read[0].etag)], 'beside a loser there is the winner');
  });

  test('1,002 conflicting writes of one document are all in what it becomes', async (c) => {
    const root = await c.insist('PUT', '/many/d', { body: { all: [], log: [], n: 0 } });
    const headers = { 'If-Match': root.etag };
    const numbers = Array.from({ length: MANY }, (_, n) => n);
    const left = [...numbers];
    const loop = async () => {
      for (let n; (n = left.pop()) !== undefined;)
        await c.insist('PUT', '/many/d?branch=true', { body: { all: [n], log: [n], n: 1, [`w${n}`]: n }, headers }, [200, 201, 202]);
    };
    await Promise.all(Array.from({ length: 16 }, loop));
    await until('all are ordered', RESOLVED_MS, async () =>
      (await c.get('/many/d')).headers['x-parley-conflicts'] === String(MANY - 1));
    const paths = { all: 'set', log: 'append', n: 'counter' };
    const changed = await c.send('PATCH', '/_/collections/many', { body: { policy: { strategy: 'merge', paths } } });
    assert.equal(changed.status, 200, changed.text);
    await until('it is resolved', RESOLVED_MS, async () => !(await c.get('/many/d')).headers['x-parley-conflicts']);
    const { json } = await c.get('/many/d');
    const sorted = (list) => [...list].sort((a, b) => a - b);
    assert.deepEqual(sorted(json.all), numbers);
    assert.deepEqual(sorted(json.log), numbers);
    assert.equal(json.n, MANY);
    for (const n of numbers) assert.equal(json[`w${n}`], n);
  });

  test('none: a client ends it by deleting one version', async (c) => {
    const row = await conflictOf(c, 'none', 'a');
    const ended = await c.send('DELETE', '/none/a', { headers: { 'If-Match': `"${row.leaves[1]}"` } });
    assert.equal(ended.status, 200, ended.text);
    await awaitState(c, 'none', 'a', undefined);
    const read = await c.get('/none/a');
    assert.equal(bare(read.etag), row.leaves[0]);
    assert.equal(read.headers['x-parley-conflicts'], undefined);
  });

  for (const [policy, n] of [['newest', 2], ['oldest', 1]]) {
    test(`${policy}: one version wins, the loser is on record`, async (c) => {
      const made = await diverge(c, `/${policy}/a`, { n: 0 }, { n: 1 }, { n: 2 });
      const row = await awaitState(c, policy, 'a', 'resolved');
      const read = await c.get(`/${policy}/a`);
      assert.equal(read.json.n, n);
      assert.equal(bare(read.etag), row.result);
      assert.ok(row.leaves.includes(bare(n === 2 ? made.online : made.offline)), 'the loser is named');
      assert.equal(read.headers['x-parley-conflicts'], undefined);
    });
  }

  test('merge: both edits are in the result, and the record tells what was done', async (c) => {
    const base = { owner: 'Ada', shelf: 'desk', read: ['Emma'], stock: 10, gone: 1 };
    const online = { owner: 'Ada', shelf: 'window', read: ['Emma', 'Dracula'], stock: 8 };
    const offline = { owner: 'Grace', shelf: 'desk', read: ['Emma', 'Ulysses'], stock: 13, gone: 1 };
    const made = await diverge(c, '/merge/a', base, online, offline);
    const row = await awaitState(c, 'merge', 'a', 'resolved');
    const { json, etag, headers } = await c.get('/merge/a');
    assert.deepEqual({ ...json, read: [...json.read].sort() },
      { id: 'a', owner: 'Grace', shelf: 'window', read: ['Dracula', 'Emma', 'Ulysses'], stock: 11 });
    assert.equal(headers['x-parley-conflicts'], undefined);
    assert.deepEqual([...row.leaves].sort(), [bare(made.online), bare(made.offline)].sort());
    assert.equal(row.result, bare(etag));
    assert.match(row.result, REVISION);
    assert.match(row.resolutionId, /^[0-9a-f]+$/);
    assert.ok(row.resolvedAt >= row.since && row.policyVersion >= 1, JSON.stringify(row));
    assert.equal((await c.get(`/merge/a?rev=${bare(made.online)}`)).json.shelf, 'window', 'the losers are kept');
  });

  test('merge: what it cannot decide stays open, with the list of paths', async (c) => {
    await diverge(c, '/merge/b', { title: 'a', n: 1 }, { title: 'b', n: 1 }, { title: 'c', n: 2 });
    const row = await until('the paths are told', RESOLVED_MS, async () => {
      const found = await conflictOf(c, 'merge', 'b');
      return found?.detail && found;
    });
    assert.equal(row.state, 'open');
    assert.match(JSON.stringify(row.detail), /title/);
    assert.ok(!JSON.stringify(row.detail).includes('"n"'));
    const read = await c.get('/merge/b?conflicts=true');
    assert.equal(read.headers['x-parley-conflicts'], '1');
    assert.equal(read.json._conflicts.length, 1);
  });

  test('a policy changed later resolves what was left open', async (c) => {
    const changed = await c.send('PATCH', '/_/collections/merge', {
      body: { policy: { strategy: 'merge', paths: { title: 'newest', read: 'set', stock: 'counter' } } },
    });
    assert.equal(changed.status, 200, changed.text);
    await awaitState(c, 'merge', 'b', 'resolved');
    assert.deepEqual((await c.get('/merge/b')).json, { id: 'b', title: 'c', n: 2 });
  });

  test('merge: of a deletion and an edit the edit wins', async (c) => {
    await diverge(c, '/merge/c', { n: 0 }, { n: 1 }, undefined);
    await until('the edit is there, alone', RESOLVED_MS, async () => {
      const read = await c.get('/merge/c');
      return read.json?.n === 1 && !read.headers['x-parley-conflicts'] && (await conflictOf(c, 'merge', 'c'))?.state !== 'open';
    });
  });

  test('a branch needs the revision that was edited', async (c) => {
    const answer = await c.put('/merge/a?branch=true', { n: 1 });
    assert.deepEqual([answer.status, answer.json.code], [400, 'bad_parameter']);
  });

  test('after retain, the traces of a conflict are gone; the document stays', async (c) => {
    await diverge(c, '/clean/a', { x: 0, y: 0 }, { x: 1, y: 0 }, { x: 0, y: 1 });
    await awaitState(c, 'clean', 'a', undefined);
    assert.deepEqual((await c.get('/clean/a')).json, { id: 'a', x: 1, y: 1 });
    for (const name of ['storage-1', 'storage-2', 'storage-3'])
      await until(`${name} has cleaned up`, RESOLVED_MS,
        async () => (await c.metric(name, 'parley_cleanups_applied_total')) === 1);
  });

  test('versions that are too much for one message together are resolved like others', async (c) => {
    const blob = 'b'.repeat(4.5 * 1024 * 1024);
    const { etag } = await c.put('/merge/large', { blob, stock: 0 });
    assert.equal((await c.put('/merge/large', { blob, stock: 1 }, { 'If-Match': etag })).status, 200);
    for (const by of [2, 3])
      await c.insist('PUT', '/merge/large?branch=true', { body: { blob, stock: by }, headers: { 'If-Match': etag } });
    await until('it is resolved', RESOLVED_MS, async () => (await c.get('/merge/large')).json?.stock === 6);
    await awaitState(c, 'merge', 'large', 'resolved');
    const { headers, json } = await c.get('/merge/large');
    assert.equal(headers['x-parley-conflicts'], undefined);
    assert.ok(json.blob === blob, 'whole');
  });

  test('while a replica is away nothing is cleaned up; when it is back, it is', async (c) => {
    const away = 'storage-2';
    await c.dev('kill', away);
    await until('nothing is led by it', RESOLVED_MS, async () => {
      const row = await c.node(away);
      return row.health === 'offline' && row.leads === 0;
    });
    await c.served('clean');
    const made = await diverge(c, '/clean/b', { x: 0, y: 0 }, { x: 1, y: 0 }, { x: 0, y: 1 });
    await awaitState(c, 'clean', 'b', 'resolved');
    const missing = (name) => c.metric('arbiter-1', `parley_cleanup_pending_acks{node="${name}"}`);
    await until('only one acknowledgement is missing', RESOLVED_MS,
      async () => (await missing(away)) === 1 && (await missing('storage-1')) + (await missing('storage-3')) === 0);
    const row = await until('it is said who is waited for', RESOLVED_MS, async () => {
      const found = await conflictOf(c, 'clean', 'b');
      return found.cleanup.state === 'waiting' && found;
    });
    assert.equal(row.state, 'resolved', 'still on record');
    assert.deepEqual(row.cleanup.for, [away]);
    assert.ok(row.cleanup.since >= row.resolvedAt - 1000, JSON.stringify(row));
    assert.deepEqual((await c.get(`/clean/b?rev=${bare(made.offline)}`)).json, { id: 'b', x: 0, y: 1 });
    await c.dev('restart', away);
    await awaitState(c, 'clean', 'b', undefined);
    assert.deepEqual((await c.get('/clean/b')).json, { id: 'b', x: 1, y: 1 });
  });

  test('the arbiter may be away: conflicts wait and are resolved when it is back', async (c) => {
    await c.dev('kill', 'arbiter-1');
    await diverge(c, '/merge/later', { x: 0, y: 0 }, { x: 1, y: 0 }, { x: 0, y: 1 });
    assert.equal((await conflictOf(c, 'merge', 'later')).state, 'open');
    assert.equal((await c.get('/merge/later')).headers['x-parley-conflicts'], '1');
    await c.dev('restart', 'arbiter-1');
    await awaitState(c, 'merge', 'later', 'resolved');
    assert.deepEqual((await c.get('/merge/later')).json, { id: 'later', x: 1, y: 1 });
  });

  test('many conflicts at once are all resolved, in the same way on every replica', async (c) => {
    const ids = Array.from({ length: 60 }, (_, n) => `many-${n}`);
    await Promise.all(ids.map((id) => diverge(c, `/merge/${id}`, { x: 0, y: 0 }, { x: 1, y: 0 }, { x: 0, y: 1 })));
    await until('all are resolved', RESOLVED_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=merge&state=open');
      return json.length === 0;
    });
    for (const id of ids) {
      const { json } = await c.get(`/merge/${id}`);
      assert.deepEqual(json, { id, x: 1, y: 1 });
    }
  });
});
