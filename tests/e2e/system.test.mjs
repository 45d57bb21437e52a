// The cluster's own collections: queried like any other, through either gateway, and written by nobody.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import WebSocket from 'ws';
import { check, startCluster, until } from './lib.mjs';

const WAIT_MS = 10000;
const q = (value) => encodeURIComponent(JSON.stringify(value));

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function listener(gateway, patterns) {
  const socket = new WebSocket(cluster.url('/', gateway).href.replace('https:', 'wss:'), cluster.tls);
  socket.on('open', () => patterns.forEach((pattern, n) => socket.send(JSON.stringify([n + 1, 'NOTIFY', pattern]))));
  return socket;
}

describe('system collections', () => {
  const sockets = [];
  const locks = [];

  before(async () => {
    cluster = await startCluster('system', { gateways: 2 });
    await cluster.collection('alpha', { shards: 1 });
    await cluster.collection('beta', { mode: 'available', policy: { strategy: 'newest' } });
    for (const name of ['by-n', 'by-m']) await cluster.insist('POST', '/_/collections/alpha/indexes', { body: { name, fields: ['n', name] } });
    await cluster.post('/alpha', [{ n: 1 }, { n: 2 }, { n: 3 }]);
    for (const key of ['alpha.one', 'beta', 'some name']) locks.push((await cluster.insist('POST', '/_/locks', { body: [key] })).json.id);
    sockets.push(listener(1, ['POST:/alpha/.*', '/beta/']), listener(2, ['DELETE']));
    await until('three patterns are listed', WAIT_MS, async () => (await cluster.get('/system.notifys')).json.length === 3);
  });
  after(async () => {
    for (const socket of sockets) socket.terminate();
    await cluster?.down();
  });

  // What must be there, and a member by which to tell rows apart.
  const collections = [
    { name: 'system.collections', rows: 2, member: 'collectionId', has: ['documentCount', 'mode', 'shards'] },
    { name: 'system.nodes', rows: 7, member: 'role', has: ['role', 'health'] },
    { name: 'system.indexes', rows: 2, member: 'fields', has: ['fields'] },
    { name: 'system.locks', rows: 3, member: 'id', has: [] },
    { name: 'system.notifys', rows: 3, member: 'id', has: [] },
  ];

  for (const { name, rows, member, has } of collections) {
    const list = async (c, parameters = '', gateway = 1) => {
      const answer = await c.get(`/${name}?${parameters}`, { gateway });
      assert.equal(answer.status, 200, answer.text);
      return answer.json;
    };

    test(`${name}: a list of documents with ids, the same through both gateways`, async (c) => {
      const all = await list(c);
      assert.equal(all.length, rows, JSON.stringify(all));
      assert.ok(all.every((row) => typeof row.id === 'string' && has.every((part) => part in row)), JSON.stringify(all));
      assert.equal(new Set(all.map((row) => row.id)).size, rows);
      assert.deepEqual((await list(c, '', 2)).map((row) => row.id), all.map((row) => row.id));
      assert.deepEqual(all.map((row) => row.id), all.map((row) => row.id).sort());
    });

    test(`${name}: query, count, order, limit, skip and fields`, async (c) => {
      const all = await list(c);
      const [first, ...rest] = all;
      assert.deepEqual((await list(c, `query=${q({ id: first.id })}`)).map((row) => row.id), [first.id]);
      assert.deepEqual((await list(c, `query=${q({ id: { $ne: first.id } })}`)).map((row) => row.id), rest.map((row) => row.id));
      assert.deepEqual(await list(c, `query=${q({ [member]: first[member] })}&count=true`),
        { documentCount: all.filter((row) => JSON.stringify(row[member]) === JSON.stringify(first[member])).length });
      assert.deepEqual(await list(c, 'count=true'), { documentCount: rows });
      const backwards = await list(c, `order=${q(['desc(id)'])}&limit=2`);
      assert.deepEqual(backwards.map((row) => row.id), all.map((row) => row.id).reverse().slice(0, 2));
      assert.deepEqual((await list(c, `order=${q(['desc(id)'])}&skip=1&limit=1`)).map((row) => row.id), [backwards[1].id]);
      const narrow = await list(c, `fields=${q([member])}`);
      assert.ok(narrow.every((row) => Object.keys(row).every((key) => key === 'id' || key === member)), JSON.stringify(narrow));
      assert.ok(narrow.every((row) => member in row));
    });

    test(`${name}: one row by id; what is not there is 404`, async (c) => {
      const [first] = await list(c);
      const one = await c.get(`/${name}/${encodeURIComponent(first.id)}`);
      assert.equal(one.status, 200, one.text);
      assert.equal(one.json.id, first.id);
      const none = await c.get(`/${name}/nothing-of-this-name`);
      assert.deepEqual([none.status, none.json.code], [404, 'not_found'], none.text);
    });

    test(`${name}: a malformed query is refused with its place`, async (c) => {
      for (const [parameters, code] of [[`query=${q({ a: { $what: 1 } })}`, 'bad_query'], ['query=5', 'bad_query'], ['order=["up(a)"]', 'bad_parameter'],
        ['limit=-1', 'bad_parameter'], ['skip=-1', 'bad_parameter'], ['fields=5', 'bad_parameter']]) {
        const answer = await c.get(`/${name}?${parameters}`);
        assert.deepEqual([answer.status, answer.json.code], [400, code], `${parameters}: ${answer.text}`);
        assert.ok(answer.json.place, answer.text);
      }
    });

    test(`${name}: writes are refused, and change nothing`, async (c) => {
      const before = (await list(c)).map((row) => row.id);
      const [id] = before;
      const writes = [['POST', '', {}], ['POST', '', [{}, {}]], ['PUT', '', {}], ['PATCH', '', {}], ['DELETE', '', undefined],
        ['PUT', `/${encodeURIComponent(id)}`, {}], ['PATCH', `/${encodeURIComponent(id)}`, {}], ['DELETE', `/${encodeURIComponent(id)}`, undefined]];
      for (const [method, path, body] of writes) {
        const answer = await c.send(method, `/${name}${path}`, { body });
        assert.equal(answer.status, 405, `${method} /${name}${path}: ${answer.text}`);
        assert.match(answer.headers.allow, /GET/);
      }
      assert.deepEqual((await list(c)).map((row) => row.id), before);
    });
  }

  test('no collection of documents may have such a name', async (c) => {
    for (const name of ['system.mine', 'system.'])
      for (const [method, path, body] of [['POST', `/${name}`, {}], ['PUT', `/${name}/x`, {}]]) {
        const answer = await c.send(method, path, { body });
        assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${path}: ${answer.status} ${answer.text}`);
      }
    assert.equal((await c.get('/system.collections?count=true')).json.documentCount, 2);
  });

  test('a lock that is released and a socket that ends are no longer listed', async (c) => {
    assert.equal((await c.send('DELETE', `/_/locks/${locks[0]}`)).status, 200);
    const left = (await c.get('/system.locks', { gateway: 2 })).json;
    assert.equal(left.length, 2);
    assert.ok(!JSON.stringify(left).includes('alpha'));
    sockets[0].terminate();
    await until('one pattern is left', WAIT_MS, async () => {
      const { json } = await c.get('/system.notifys');
      return json.length === 1 && JSON.stringify(json).includes('DELETE');
    });
  });
});
