// A replica that is away for long is replaced where a node is free, and what waited for it goes on: losers and tombstones are
// cleaned up without it, and when it comes back it brings nothing of them.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const NODES = ['storage-1', 'storage-2', 'storage-3', 'storage-4'];
const EVICT_MS = 6000;
const LONG_MS = 60000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const rows = async (c) => (await c.get('/system.nodes')).json.filter((row) => NODES.includes(row.id));
const conflicts = async (c) => (await c.insist('GET', '/_/conflicts?collection=lost')).json;

describe('a replica that is lost', () => {
  before(async () => {
    cluster = await startCluster('evict', { nodes: 4, gateways: 1, settings: [`coordinator.evict_after_ms=${EVICT_MS}`] });
    await cluster.collection('lost', { shards: 1, mode: 'available', retainMs: 0, retainDeletedMs: 0 });
  });
  after(() => cluster?.down());

  test('cleanup waits for it, then goes on with the one in its place', async (c) => {
    const base = await c.insist('PUT', '/lost/a', { body: { n: 0 } });
    const lost = await until('a replica that does not lead', LONG_MS,
      async () => (await rows(c)).find((row) => row.health === 'healthy' && row.shards === 1 && row.leads === 0));
    await until('it has applied it', LONG_MS, async () => (await c.metric(lost.id, 'parley_documents')) === 1);
    await c.insist('PUT', '/lost/gone', { body: { n: 0 } });
    c.killNow(lost.id); // it has this one, and may not have heard that it is settled
    await c.insist('PUT', '/lost/a', { body: { n: 1 }, headers: { 'If-Match': base.etag } });
    await c.insist('PUT', '/lost/a?branch=true', { body: { m: 1, n: 0 }, headers: { 'If-Match': base.etag } }, [200, 201, 202]);
    await c.insist('DELETE', '/lost/gone', {}, [200, 202]);
    await until('it is merged', LONG_MS, async () => (await c.get('/lost/a')).json.m === 1);
    await until('it has been replaced', LONG_MS, async () => {
      const all = await rows(c);
      const row = all.find(({ id }) => id === lost.id);
      return row.shards === 0 && all.reduce((sum, { shards }) => sum + shards, 0) === 3;
    });
    await until('the losers are gone', LONG_MS, async () => (await conflicts(c)).length === 0);
    const left = NODES.filter((name) => name !== lost.id);
    await until('the tombstone is gone', LONG_MS,
      async () => (await Promise.all(left.map((name) => c.metric(name, 'parley_tombstones')))).every((count) => !count));

    await c.dev('restart', lost.id);
    await c.ready(lost.id);
    await until('it is a member again', LONG_MS, async () => (await c.node(lost.id)).health === 'healthy');
    await until('it has given up its copy, and keeps no branch', LONG_MS, async () =>
      (await c.metric(lost.id, 'parley_documents')) === 0 && (await c.metric(lost.id, 'parley_outbox_entries')) === 0);
    assert.deepEqual((await c.get('/lost/a')).json, { id: 'a', n: 1, m: 1 });
    assert.equal((await c.get('/lost/gone')).status, 404);
    assert.deepEqual(await conflicts(c), []);
  });
});
