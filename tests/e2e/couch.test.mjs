// The CouchDB dialect over real connections: what curl would send, and nano as it comes from npm.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;

let cluster;
let nano;
const test = (what, body) => check(() => cluster, what, body);

function couch(method, path, { body, headers, gateway = 1 } = {}) {
  const url = new URL(path, cluster.couchUrl(gateway));
  return cluster.sendTo(url, { method, body, headers });
}

function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(answer.json, { error, reason });
}

async function database(name) {
  await couch('DELETE', `/${encodeURIComponent(name)}`);
  const made = await couch('PUT', `/${encodeURIComponent(name)}`);
  assert.equal(made.status, 201, made.text);
  return `/${encodeURIComponent(name)}`;
}

describe('the CouchDB dialect', () => {
  before(async () => {
    cluster = await startCluster('couch', { gateways: 2 });
    cluster.couchUrl = (gateway) => `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`;
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    nano = nanoModule({ url: cluster.couchUrl(1), agentOptions: dispatcher });
    cluster.dispatcher = dispatcher;
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

  test('the server tells about itself', async () => {
    const root = await couch('GET', '/', { headers: { Authorization: 'Basic: x' } });
    assert.equal(root.json.couchdb, 'Welcome');
    assert.match(root.json.uuid, /^[0-9a-f]{32}$/);
    assert.equal(root.headers['cache-control'], 'must-revalidate');
    assert.equal((await couch('GET', '/', { gateway: 2 })).json.uuid, root.json.uuid);
    assert.equal((await couch('GET', '/_up')).json.status, 'ok');
    assert.equal((await couch('GET', '/_uuids?count=3')).json.uuids.length, 3);
    assert.equal((await couch('GET', '/_session')).json.userCtx.name, 'admin');
    assert.deepEqual((await couch('GET', '/_membership')).json.cluster_nodes.sort(), ['storage-1', 'storage-2', 'storage-3']);
  });

  test('databases are made, described and dropped, under any name that CouchDB takes', async () => {
    for (const name of ['az09_$()+-/', 'with/slash', 'testdb_1234567890123', 'system_x']) {
      const db = await database(name);
      expectError(await couch('PUT', db), 412, 'file_exists', 'The database could not be created, the file already exists.');
      const info = await couch('GET', `${db}/`);
      assert.equal(info.json.db_name, name);
      assert.equal(info.json.doc_count, 0);
      assert.equal(info.json.instance_start_time, '0');
      assert.equal(typeof info.json.update_seq, 'string');
      assert.ok((await couch('GET', '/_all_dbs')).json.includes(name));
      assert.equal((await couch('HEAD', db)).status, 200);
      assert.equal((await couch('DELETE', db)).status, 200);
      expectError(await couch('GET', db), 404, 'not_found', 'Database does not exist.');
      expectError(await couch('DELETE', db), 404, 'not_found', 'Database does not exist.');
    }
    assert.equal((await couch('PUT', '/Capital')).json.error, 'illegal_database_name');
    assert.deepEqual((await couch('GET', '/_all_dbs')).json, []);
  });

  test('a database that is dropped and made again is empty, through either gateway', async () => {
    for (let round = 0; round < 3; round++) {
      const db = await database('again');
      assert.equal((await couch('PUT', `${db}/a`, { body: { round } })).status, 201);
      const dropped = await couch('DELETE', db);
      assert.equal(dropped.status, 200, dropped.text);
      const made = await couch('PUT', db, { gateway: 2 });
      assert.equal(made.status, 201, made.text);
      expectError(await couch('GET', `${db}/a`, { gateway: 2 }), 404, 'not_found', 'missing');
      assert.equal((await couch('GET', db, { gateway: 2 })).json.doc_count, 0);
    }
  });

  test('a node that was away does not bring a dropped database back', async () => {
    const db = await database('away');
    assert.equal((await couch('PUT', `${db}/a`, { body: {} })).status, 201);
    cluster.killNow('storage-2');
    assert.equal((await couch('DELETE', db)).status, 200);
    await until('it is made with two nodes', 15000, async () => (await couch('PUT', db)).status === 201);
    await cluster.dev('restart', 'storage-2');
    await until('the node gave its copies up', 15000, () => cluster.log('storage-2').includes('collection_dropped'));
    expectError(await couch('GET', `${db}/a`), 404, 'not_found', 'missing');
    assert.ok((await cluster.get('/system.collections/away')).json.documentCount === 0);
    await until('all are healthy', 20000, async () => (await cluster.get('/system.nodes')).json.every((node) => node.health === 'healthy'));
  });

  test('documents', async () => {
    const db = await database('documents');
    const first = await couch('PUT', `${db}/a%2Fb`, { body: { _id: 'a/b', id: 5, x: [1.5, null] } });
    assert.equal(first.status, 201);
    assert.equal(first.etag, `"${first.json.rev}"`);
    expectError(await couch('PUT', `${db}/a%2Fb`, { body: {} }), 409, 'conflict', 'Document update conflict.');
    const read = await couch('GET', `${db}/a%2Fb`);
    assert.deepEqual(read.json, { _id: 'a/b', _rev: first.json.rev, id: 5, x: [1.5, null] });
    assert.equal((await couch('GET', `${db}/a%2Fb`, { headers: { 'If-None-Match': read.etag } })).status, 304);
    assert.equal((await couch('HEAD', `${db}/a%2Fb`)).etag, read.etag);
    const second = await couch('PUT', `${db}/a%2Fb`, { body: { ...read.json, x: 2 } });
    const history = await couch('GET', `${db}/a%2Fb?revs=true`);
    assert.deepEqual(history.json._revisions, { start: 2, ids: [second.json.rev.slice(2), first.json.rev.slice(2)] });
    const gone = await couch('DELETE', `${db}/a%2Fb?rev=${second.json.rev}`);
    assert.equal(gone.status, 200);
    expectError(await couch('GET', `${db}/a%2Fb`), 404, 'not_found', 'deleted');
    expectError(await couch('GET', `${db}/nothing`), 404, 'not_found', 'missing');
    assert.equal((await couch('GET', `${db}/a%2Fb?rev=${gone.json.rev}`)).json._deleted, true);
    const back = await couch('PUT', `${db}/a%2Fb`, { body: { _rev: gone.json.rev } });
    assert.match(back.json.rev, /^4-/);
    const posted = await couch('POST', db, { body: { y: 1 } });
    assert.ok(posted.json.id.length > 20);
    const copied = await couch('COPY', `${db}/${posted.json.id}`, { headers: { Destination: 'copy' } });
    assert.equal(copied.status, 201, copied.text);
    assert.equal((await couch('GET', `${db}/copy`)).json.y, 1);
    for (const path of ['_design/foo', '_design%2Ffoo']) {
      const design = await couch('GET', `${db}/${path}`);
      const saved = await couch('PUT', `${db}/${path}`, { body: { ...design.json?._rev && { _rev: design.json._rev }, views: {} } });
      assert.equal(saved.json.id, '_design/foo', saved.text);
    }
    const info = await couch('GET', db);
    assert.equal(info.json.doc_count, 4);
  });

  test('the same documents in both dialects', async () => {
    const db = await database('both');
    await cluster.put('/both/n', { id: 'n', _id: 'own', a: 1 });
    const read = await couch('GET', `${db}/n`);
    assert.deepEqual(read.json, { _id: 'n', _rev: read.json._rev, id: 'own', a: 1 });
    await couch('PUT', `${db}/n`, { body: { ...read.json, a: 2 } });
    assert.deepEqual((await cluster.get('/both/n')).json, { id: 'n', _id: 'own', a: 2 });
  });

  test('_bulk_docs and _all_docs', async () => {
    const db = await database('bulk');
    const docs = ['a', 'b', 'c', 'd', 'e'].map((_id) => ({ _id, n: _id }));
    const written = await couch('POST', `${db}/_bulk_docs`, { body: { docs } });
    assert.equal(written.status, 201);
    assert.deepEqual(written.json.map((row) => [row.ok, row.id]), docs.map(({ _id }) => [true, _id]));
    const again = await couch('POST', `${db}/_bulk_docs`, { body: { docs: [{ _id: 'a' }, { _id: 'f' }] } });
    assert.deepEqual(again.json[0], { id: 'a', error: 'conflict', reason: 'Document update conflict.' });
    assert.equal(again.json[1].ok, true);
    await couch('DELETE', `${db}/f?rev=${again.json[1].rev}`);
    const ids = async (query) => (await couch('GET', `${db}/_all_docs?${query}`)).json.rows.map((row) => row.id).join('');
    const all = await couch('GET', `${db}/_all_docs?include_docs=true&update_seq=true`);
    assert.equal(all.json.total_rows, 5);
    assert.equal(all.json.offset, 0);
    assert.equal(all.json.rows[1].doc.n, 'b');
    assert.equal(all.json.rows[1].value.rev, all.json.rows[1].doc._rev);
    assert.equal(typeof all.json.update_seq, 'string');
    assert.equal(await ids('limit=0'), '');
    assert.equal(await ids('limit=2&skip=1'), 'bc');
    assert.equal(await ids('startkey="b"&endkey="d"'), 'bcd');
    assert.equal(await ids('startkey="b"&endkey="d"&inclusive_end=false'), 'bc');
    assert.equal(await ids('startkey="d"&endkey="b"&descending=true'), 'dcb');
    assert.equal(await ids('descending=true&limit=2'), 'ed');
    assert.equal(await ids('key="c"'), 'c');
    assert.equal(await ids('key="cc"'), '');
    const keys = await couch('POST', `${db}/_all_docs`, { body: { keys: ['f', 'x', 'a', 'a'], include_docs: true } });
    const [deleted, absent, ...twice] = keys.json.rows;
    assert.equal(deleted.value.deleted, true);
    assert.equal(deleted.doc, null);
    assert.deepEqual(absent, { key: 'x', error: 'not_found' });
    assert.deepEqual(twice.map((row) => row.doc._id), ['a', 'a']);
  });

  test('_local documents', async () => {
    const db = await database('local');
    const path = `${db}/_local/check%3D%3D`;
    expectError(await couch('GET', path), 404, 'not_found', 'missing');
    const first = await couch('PUT', path, { body: { seq: 1 } });
    assert.equal(first.status, 201, first.text);
    assert.deepEqual(first.json, { ok: true, id: '_local/check==', rev: '0-1' });
    const second = await couch('PUT', path, { body: { _id: '_local/check==', _rev: '0-1', seq: 2 } });
    assert.equal(second.json.rev, '0-2');
    assert.equal((await couch('PUT', path, { body: { _rev: '0-1' } })).status, 409);
    assert.ok((await couch('PUT', path, { body: { _rev: '1-fake' } })).status >= 400);
    assert.deepEqual((await couch('GET', path)).json, { _id: '_local/check==', _rev: '0-2', seq: 2 });
    assert.equal((await couch('PUT', path, { body: { seq: 3 } })).json.rev, '0-3');
    assert.equal((await couch('GET', db)).json.doc_count, 0);
    assert.equal((await couch('DELETE', `${path}?rev=0-3`)).status, 200);
    expectError(await couch('GET', path), 404, 'not_found', 'missing');
    assert.ok(!(await cluster.get('/system.collections')).json.some((row) => row.name?.startsWith('system.')));
    assert.equal((await cluster.get('/system.local/x')).status, 404);
  });

  test('what is not there yet is told in CouchDB’s form', async () => {
    const db = await database('later');
    for (const [method, path] of [['POST', '/_purge'], ['GET', '/_shards']]) {
      const answer = await couch(method, db + path, { body: method === 'POST' ? {} : undefined });
      assert.equal(answer.status, 501);
      assert.equal(answer.json.error, 'not_implemented');
    }
    expectError(await couch('GET', `${db}/_nothing`), 404, 'not_found', 'missing');
    assert.equal((await couch('PATCH', db, { body: {} })).json.error, 'method_not_allowed');
  });

  test('nano 11', async () => {
    assert.equal((await nano.info()).couchdb, 'Welcome');
    await nano.db.create('nano_db');
    await assert.rejects(nano.db.create('nano_db'), (error) => error.statusCode === 412 && error.error === 'file_exists');
    const db = nano.use('nano_db');
    const { rev } = await db.insert({ hello: 'world' }, 'first');
    assert.deepEqual(await db.get('first'), { _id: 'first', _rev: rev, hello: 'world' });
    await assert.rejects(db.insert({}, 'first'), (error) => error.statusCode === 409 && error.error === 'conflict');
    assert.equal((await db.head('first')).etag, `"${rev}"`);
    await db.bulk({ docs: [{ _id: 'second' }, { _id: 'third' }] });
    assert.deepEqual((await db.list({ include_docs: true })).rows.map((row) => row.doc._id), ['first', 'second', 'third']);
    assert.equal((await db.fetch({ keys: ['second'] })).rows[0].doc._id, 'second');
    await db.destroy('first', rev);
    await assert.rejects(db.get('first'), (error) => error.statusCode === 404 && error.reason === 'deleted');
    assert.equal((await db.info()).doc_del_count, 1);
    assert.equal((await nano.uuids(2)).uuids.length, 2);
    assert.ok((await nano.db.list()).includes('nano_db'));
    await nano.db.destroy('nano_db');
    await assert.rejects(nano.db.get('nano_db'), (error) => error.reason === 'Database does not exist.');
  });
});
