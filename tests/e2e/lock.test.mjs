// Locks on a real cluster: what excludes what, who waits and who fails, and how they end when something is killed.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { Agent } from 'node:https';
import { check, startCluster, until } from './lib.mjs';

const STORAGE = ['storage-1', 'storage-2', 'storage-3'];
const NOT_GRANTED = 423;
const SESSION = 'gone with its gateway';

let cluster;
const test = (what, body) => check(() => cluster, what, body);

async function lock(c, keys, { headers, gateway, ...more } = {}) {
  const answer = await c.send('POST', '/_/locks', { body: { keys, ...more }, headers, gateway });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

function tryLock(c, keys, more = {}) {
  return c.post('/_/locks', { keys, waitMs: 0, ...more });
}

async function unlock(c, { id }, gateway) {
  const answer = await c.send('DELETE', `/_/locks/${id}`, { gateway });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json, {});
}

function withLock({ id }, more = {}) {
  return { 'X-Lock-Id': id, ...more };
}

const failing = { 'X-Lock-Strategy': 'fail' };

describe('locks', () => {
  before(async () => {
    cluster = await startCluster('lock');
    await cluster.collection('c', { shards: 1 });
    for (const id of ['a', 'b']) await cluster.insist('PUT', `/c/${id}`, { body: { f: 1, g: { x: 1, y: 1 } } });
  });
  after(() => cluster?.down());

  // The session is counted as lost after ten seconds, in which the tests that follow go on.
  test('a gateway that is killed has a session, which it has spoken of', async (c) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...c.tls });
    const answer = await c.send('POST', '/_/locks', { body: { keys: [SESSION], session: 'connection' }, agent, gateway: 2 });
    assert.equal(answer.status, 200, answer.text);
    let least = Infinity;
    await until('the gateway speaks of it', 20000, async () => {
      const { expiresInMs } = (await c.get('/system.locks')).json.find((row) => row.id === answer.json.id);
      if (expiresInMs > least) return true;
      least = expiresInMs;
      return false;
    });
    c.killNow('gateway-2');
    agent.destroy();
    assert.equal((await tryLock(c, [SESSION])).status, NOT_GRANTED);
    await c.dev('restart', 'gateway-2');
    await c.ready('gateway-2');
  });

  test('a collection, a document or a field is for its holder alone', async (c) => {
    const rows = [
      { keys: ['c'], free: [], taken: [['PUT', '/c/a', {}], ['POST', '/c', {}], ['DELETE', '/c/nobody'], ['PATCH', '/c', { z: 1 }]] },
      { keys: ['c/a'], free: [['PUT', '/c/b', { f: 2 }]], taken: [['PUT', '/c/a', {}], ['PATCH', '/c/a', { f: 3 }]] },
      { keys: ['c/a/g'], free: [['PATCH', '/c/a', { f: 4 }]], taken: [['PATCH', '/c/a', { g: { x: 2 } }], ['PUT', '/c/a', {}]] },
      { keys: ['c.a.g.x'], free: [['PATCH', '/c/a', { g: { y: 4 } }]], taken: [['PATCH', '/c/a', { g: { x: 2 } }]] },
    ];
    for (const { keys, free, taken } of rows) {
      const mine = await lock(c, keys);
      for (const [method, path, body] of taken) {
        const refused = await c.send(method, path, { body, headers: failing });
        assert.equal(refused.status, 423, `${keys}: ${method} ${path}: ${refused.text}`);
        assert.equal(refused.json.code, 'locked');
      }
      for (const [method, path, body] of free) {
        const allowed = await c.send(method, path, { body, headers: failing });
        assert.ok(allowed.status < 300, `${keys}: ${method} ${path}: ${allowed.text}`);
      }
      assert.equal((await c.get('/c/a')).status, 200, 'reads are not blocked');
      await unlock(c, mine);
    }
  });

  test('its holder writes, by header or by parameter, through any gateway, and no longer than it holds it', async (c) => {
    const mine = await lock(c, ['c/a']);
    assert.match(mine.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.ok(mine.ttlMs > 0);
    for (const gateway of [1, 2]) {
      const written = await c.put('/c/a', { f: gateway }, withLock(mine), { gateway });
      assert.equal(written.status, 200, written.text);
    }
    const asked = await c.send('PATCH', `/c/a?lockId=${mine.id}&lockStrategy=`, { body: { f: 9 } });
    assert.equal(asked.status, 200, asked.text);
    const byQuery = await c.send('PATCH', `/c?query=${encodeURIComponent('{"f":9}')}`, { body: { h: 1 }, headers: withLock(mine) });
    assert.deepEqual(byQuery.json, { changes: 1 }, byQuery.text);
    const other = await c.put('/c/b', {}, withLock(mine));
    assert.equal(other.status, 412, 'it does not cover that');
    assert.equal(other.json.code, 'lock_lost');
    await unlock(c, mine, 2);
    const late = await c.put('/c/a', {}, withLock(mine));
    assert.equal(late.status, 412, late.text);
    assert.equal((await c.send('DELETE', `/_/locks/${mine.id}`)).status, 404);
  });

  test('locks exclude each other above and below, all or none, and tokens grow', async (c) => {
    const rows = [['c', 'c/a'], ['c/a', 'c'], ['c/a/f', 'c/a'], ['c/a', 'c/a/f.x'], ['c', 'c'], ['any name!', 'any name!']];
    let token = 0;
    for (const [held, wanted] of rows) {
      const mine = await lock(c, [held]);
      assert.ok(mine.token > token);
      token = mine.token;
      assert.equal((await tryLock(c, ['c/free', wanted])).status, NOT_GRANTED, `${held} ${wanted}`);
      const free = await tryLock(c, ['d']);
      assert.equal(free.status, 200, free.text);
      await unlock(c, free.json);
      await unlock(c, mine);
    }
    assert.equal((await c.get('/d')).status, 200, 'a collection that was locked exists');
  });

  test('a writer waits until it is free; so do those who lock, first come, first served', async (c) => {
    const mine = await lock(c, ['c/a']);
    const order = [];
    const waiter = (name, gateway) => lock(c, ['c/a'], { gateway, waitMs: 20000 }).then((got) => {
      order.push(name);
      return got;
    });
    const second = waiter('second', 2);
    await until('one waits', 5000, async () => (await c.get('/system.locks')).json.filter((row) => row.state === 'waiting').length === 1);
    const third = waiter('third', 1);
    await until('two wait', 5000, async () => (await c.get('/system.locks')).json.filter((row) => row.state === 'waiting').length === 2);
    const { json } = await c.get('/system.locks?order=["asc(token)"]');
    const held = json.find((row) => row.id === mine.id);
    assert.deepEqual(held.keys, ['c/a']);
    assert.equal(held.state, 'held');
    assert.ok(held.expiresInMs > 0 && held.sinceMs > 0);
    assert.deepEqual(order, []);
    await unlock(c, mine);
    const got = await second;
    assert.deepEqual(order, ['second']);
    await unlock(c, got);
    const last = await third;
    assert.deepEqual(order, ['second', 'third']);
    let written = false;
    const write = c.put('/c/a', { f: 'waited' }).then((answer) => {
      written = true;
      return answer;
    });
    for (let i = 0; i < 10; i++) assert.notEqual((await c.get('/c/a')).json.f, 'waited');
    assert.equal(written, false);
    await unlock(c, last);
    assert.equal((await write).status, 200);
  });

  test('an Idempotency-Key names the lock', async (c) => {
    const headers = { 'Idempotency-Key': 'once' };
    const first = await lock(c, ['c/a'], { headers });
    const again = await lock(c, ['c/a'], { headers, gateway: 2 });
    assert.deepEqual(again, first);
    const other = await c.post('/_/locks', { keys: ['c/b'] }, headers);
    assert.equal(other.status, 422, other.text);
    await unlock(c, first);
  });

  test('it ends when it is not renewed', async (c) => {
    const mine = await lock(c, ['c/a'], { ttlMs: 1500 });
    const renew = async (body) => {
      const renewed = await c.put(`/_/locks/${mine.id}`, body);
      assert.equal(renewed.status, 200, renewed.text);
    };
    for (const since = Date.now(); Date.now() - since < 1700;) await renew(); // it would have ended
    await renew({ ttlMs: 20000 });
    assert.equal((await c.put('/c/a', { f: 1 }, withLock(mine))).status, 200);
    const from = Date.now();
    await renew({ ttlMs: 1200 });
    const next = await lock(c, ['c/a'], { waitMs: 10000 });
    assert.ok(Date.now() - from >= 1190, 'not before its time');
    assert.equal((await c.put('/c/a', {}, withLock(mine))).status, 412);
    assert.equal((await c.put(`/_/locks/${mine.id}`, {})).status, 404);
    await unlock(c, next);
  });

  test('with a session it ends with the connection', async (c) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...c.tls });
    const answer = await c.send('POST', '/_/locks', { body: { keys: ['c/a'], session: 'connection' }, agent });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await tryLock(c, ['c/a'])).status, NOT_GRANTED);
    agent.destroy();
    const next = await lock(c, ['c/a'], { waitMs: 5000 });
    assert.equal((await c.put('/c/a', {}, withLock(answer.json))).status, 412);
    await unlock(c, next);
  });

  test('who goes away while waiting does not get it', async (c) => {
    const mine = await lock(c, ['c/a']);
    const agent = new Agent({ maxSockets: 1, ...c.tls });
    const gone = c.send('POST', '/_/locks', { body: ['c/a'], agent, timeoutMs: 500 });
    await assert.rejects(gone);
    agent.destroy();
    await until('nobody waits', 5000, async () => (await c.get('/system.locks')).json.every((row) => row.state === 'held'));
    await unlock(c, mine);
    await unlock(c, await lock(c, ['c/a'], { waitMs: 2000 }));
  });

  test('a gateway that was killed has taken its sessions with it', async (c) => {
    const next = await c.send('POST', '/_/locks', { body: { keys: [SESSION], waitMs: 20000 }, timeoutMs: 25000 });
    assert.equal(next.status, 200, next.text);
    await unlock(c, next.json);
  });

  test('a new lead keeps it', async (c) => {
    const mine = await lock(c, ['c/a'], { ttlMs: 60000 });
    const { json } = await c.get('/system.nodes');
    const victim = json.filter((row) => row.role === 'storage').sort((a, b) => b.leads - a.leads)[0].id;
    c.killNow(victim);
    await c.insist('PUT', '/c/a', { body: { f: 'after' }, headers: withLock(mine) });
    const refused = await c.put('/c/a', {}, failing);
    assert.equal(refused.status, 423, refused.text);
    await c.dev('restart', victim);
    await c.ready(victim);
    await unlock(c, mine);
    await c.insist('PUT', '/c/a', { body: { f: 'free' }, headers: failing });
  });

  test('a coordinator that was killed lets none expire, and grants on', async (c) => {
    const from = Date.now();
    const mine = await lock(c, ['c/a'], { ttlMs: 2000 });
    c.killNow('coordinator-1');
    const down = await c.put('/c/a', { f: 1 }, withLock(mine));
    assert.equal(down.status, 200, 'held locks need no coordinator');
    while (Date.now() - from < 2300) assert.equal((await c.put('/c/a', {}, failing)).status, 423, 'nor do they expire without it');
    await c.dev('restart', 'coordinator-1');
    await c.ready('coordinator-1');
    assert.equal((await c.put('/c/a', { f: 2 }, withLock(mine))).status, 200);
    const next = await until('it expires', 10000, async () => {
      const answer = await c.post('/_/locks', { keys: ['c/a'], waitMs: 5000 });
      return answer.status === 200 && answer.json;
    });
    assert.ok(next.token > mine.token);
    await unlock(c, next);
  });

  test('nothing stays behind', async (c) => {
    await until('no locks', 5000, async () => (await c.get('/system.locks')).json.length === 0);
    for (const name of STORAGE) await until(`${name} keeps none`, 5000, async () => (await c.metric(name, 'parley_locks')) === 0);
  });
});
