// What is left of deleted documents goes when everybody has seen the deletion, not before; who comes late brings nothing
// back. And the alert rules name metrics that there are.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { couchUrl } from './couch-lib.mjs';
import { ROOT, check, startCluster, until } from './lib.mjs';

const { parse } = createRequire(import.meta.url)('yaml');
const DEADLINE_MS = 15000;
const NODES = ['storage-1', 'storage-2', 'storage-3'];

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const tombstones = async (name) => cluster.metric(name, 'parley_tombstones');
const allGone = () => until('no tombstone is left', DEADLINE_MS,
  async () => (await Promise.all(NODES.map(tombstones))).every((count) => count === 0));

describe('deleted documents', () => {
  before(async () => {
    cluster = await startCluster('purge', { gateways: 1 });
    const settings = { mode: 'available', shards: 1, retainMs: 0, retainDeletedMs: 0 };
    await cluster.collection('gone', settings);
    await cluster.collection('synced', settings);
    await cluster.collection('kept', { shards: 1 });
  });
  after(() => cluster?.down());

  test('the tombstone stays while a replica is away, then goes; a late edit does not bring it back', async (c) => {
    assert.equal((await c.get('/system.collections/kept')).json.retainDeletedMs, 7 * 24 * 3600 * 1000);
    assert.equal((await c.get('/system.collections/gone')).json.retainDeletedMs, 0);
    const made = await c.insist('PUT', '/gone/a', { body: { n: 1 } });
    await until('storage-3 has it', DEADLINE_MS, async () => (await c.metric('storage-3', 'parley_documents')) === 1);
    c.killNow('storage-3');
    await until('others lead what it led', DEADLINE_MS, async () => {
      const row = await c.node('storage-3');
      return row.health === 'offline' && row.leads === 0;
    });
    await c.served('gone');
    await c.insist('DELETE', '/gone/a', {}, [200]);
    await until('the arbiter waits for storage-3', DEADLINE_MS,
      async () => (await c.metric('arbiter-1', 'parley_cleanup_pending_acks{node="storage-3"}')) > 0);
    assert.equal(Math.max(await tombstones('storage-1'), await tombstones('storage-2')), 1);
    await c.dev('restart', 'storage-3');
    await c.ready('storage-3');
    await allGone();
    assert.equal(await c.metric('storage-3', 'parley_purged_marks'), 1);

    const late = await c.send('PUT', '/gone/a?branch=true', { body: { n: 2 }, headers: { 'If-Match': made.etag } });
    assert.ok([200, 201, 202].includes(late.status), late.text);
    assert.equal((await c.get('/gone/a')).status, 404);
    const [row] = (await c.get('/_/conflicts?collection=gone&state=open')).json;
    assert.equal(row.kind, 'delete');
    assert.equal(row.held, true);
    const shown = await c.get('/_/conflicts/gone/a');
    assert.equal(shown.status, 200, shown.text);
    const body = { leaves: shown.json.leaves, pick: late.etag.replaceAll('"', '') };
    const resolved = await c.send('POST', '/_/conflicts/gone/a/resolve', { body });
    assert.equal(resolved.status, 200, resolved.text);
    assert.equal((await c.get('/gone/a')).json.n, 2, 'a person may');
  });

  test('a client that syncs is waited for', async (c) => {
    const path = '/_/checkpoints/synced/phone';
    await c.insist('PUT', '/synced/a', { body: { n: 1 } });
    const seen = await c.position('synced');
    const set = await c.send('PUT', path, { body: { position: seen } });
    assert.equal(set.status, 200, set.text);
    assert.ok((await c.get(path)).json.position);
    await c.insist('DELETE', '/synced/a', {}, [200]);
    const held = (name) => c.metric(name, 'parley_tombstones_held_back_shards');
    await until('it holds the tombstone back', DEADLINE_MS, async () => (await Promise.all(NODES.map(held))).includes(1));
    assert.deepEqual((await c.get('/system.checkpoints?fields=["name","collection"]')).json,
      [{ id: 'synced/phone', collection: 'synced', name: 'phone' }]);
    await until('it has come further, and no tombstone is left', DEADLINE_MS, async () => {
      const later = await c.position('synced');
      assert.equal((await c.send('PUT', path, { body: { position: later } })).status, 200);
      return (await Promise.all(NODES.map(tombstones))).every((count) => count === 0);
    });
    assert.equal((await c.send('PUT', '/_/checkpoints/synced/old', { body: { position: seen } })).status, 410);
    assert.equal((await c.send('PUT', path, { body: { position: 'x' } })).status, 400);
    assert.equal((await c.send('DELETE', path)).status, 200);
    assert.equal((await c.send('DELETE', path)).status, 404);
    assert.equal((await c.get(path)).status, 404);
  });

  test('what people made of a late edit can be undone, and that shows readers nothing', async (c) => {
    await c.collection('undone', { mode: 'available', shards: 1, retainDeletedMs: 0 });
    const made = await c.insist('PUT', '/undone/a', { body: { n: 1 } });
    await c.insist('DELETE', '/undone/a', {}, [200]);
    const marks = () => Promise.all(NODES.map((name) => c.metric(name, 'parley_purged_marks')));
    const before = Math.max(...await marks());
    await until('it is purged', DEADLINE_MS, async () => (await marks()).every((count) => count > before));
    const open = async (versions) => {
      assert.equal((await c.get('/undone/a')).status, 404);
      const shown = (await c.get('/_/conflicts/undone/a')).json;
      assert.deepEqual([shown.kind, shown.held, shown.leaves.length], ['delete', true, versions]);
      return shown.leaves;
    };
    const resolve = async (answer) => {
      const { status, text, json } = await c.post('/_/conflicts/undone/a/resolve', answer);
      assert.equal(status, 200, text);
      return json.resolutionId;
    };
    const undo = (resolutionId) => c.post('/_/conflicts/undone/a/undo', { resolutionId });
    const late = await c.send('PUT', '/undone/a?branch=true', { body: { n: 2 }, headers: { 'If-Match': made.etag } });
    assert.ok([200, 201, 202].includes(late.status), late.text);
    const first = await resolve({ leaves: await open(2), pick: late.etag.replaceAll('"', '') });
    assert.equal((await c.get('/undone/a')).json.n, 2);
    assert.equal((await undo(first)).status, 200);
    await resolve({ leaves: await open(2), delete: true });
    const push = async (letter, n) => {
      const ids = [letter.repeat(32), made.etag.replaceAll('"', '').slice(2)];
      const docs = [{ _id: 'a', n, _revisions: { start: 2, ids } }];
      const pushed = await c.sendTo(couchUrl(c, '/undone/_bulk_docs'), { method: 'POST', body: { new_edits: false, docs } });
      assert.equal(pushed.status, 201, pushed.text);
    };
    await push('e', 3);
    await resolve({ leaves: await open(2), delete: true });
    await push('d', 2); // of the same revision, by somebody else
    const picked = await resolve({ leaves: await open(2), pick: `2-${'d'.repeat(32)}` });
    await push('f', 4);
    assert.equal((await c.get('/undone/a')).json.n, 2, 'readers see what people made');
    const { leaves } = (await c.get('/_/conflicts/undone/a')).json;
    const second = await resolve({ leaves, pick: `2-${'f'.repeat(32)}` });
    assert.equal((await undo(second)).status, 200);
    assert.equal((await c.get('/undone/a')).json.n, 2);
    assert.equal((await undo(picked)).status, 200);
    await open(3);
    await c.insist('PUT', '/undone/a', { body: { fresh: 1 } });
    assert.equal((await c.get('/undone/a')).json.fresh, 1, 'what is written now readers see');
    await push('b', 5);
    assert.equal((await c.get('/undone/a')).json.fresh, 1);
    assert.equal((await c.get('/_/conflicts/undone/a')).json.held, true);
  });

  test('alert rules name metrics that there are', async (c) => {
    const names = ['coordinator-1', ...NODES, 'gateway-1', 'arbiter-1'];
    const texts = await Promise.all(names.map(async (name) => (await c.health(name, '/metrics')).text));
    const there = new Set(texts.join('\n').match(/^parley_\w+/gm));
    const { groups } = parse(readFileSync(join(ROOT, 'deploy/alerts/parley.rules.yml'), 'utf8'));
    const rules = groups.flatMap((group) => group.rules);
    assert.ok(rules.length > 10);
    assert.equal(new Set(rules.map((rule) => rule.alert)).size, rules.length, 'each has a name of its own');
    for (const { alert, expr, annotations } of rules) {
      assert.ok(annotations?.summary, `${alert} says what is wrong`);
      for (const name of expr.match(/parley_\w+/g)) assert.ok(there.has(name), `${alert}: there is no ${name}`);
    }
  });
});
