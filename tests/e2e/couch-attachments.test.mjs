// Attachments in the CouchDB dialect over real connections: what curl would send, nano, and PouchDB.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { gzipSync } from 'node:zlib';
import nanoModule from 'nano';
import http from 'pouchdb-adapter-http';
import memory from 'pouchdb-adapter-memory';
import PouchDB from 'pouchdb-core';
import replication from 'pouchdb-replication';
import { Agent as Dispatcher } from 'undici';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;
const MIB = 1024 * 1024;
PouchDB.plugin(http).plugin(memory).plugin(replication);

let cluster;
let nano;
const test = (what, body) => check(() => cluster, what, body);

function couch(method, path, { body, headers, gateway = 1 } = {}) {
  const url = new URL(path, cluster.couchUrl(gateway));
  return cluster.sendTo(url, { method, body, headers });
}

// Bytes in, bytes out.
async function raw(method, path, { body, headers = {}, gateway = 1 } = {}) {
  const answer = await cluster.dispatcher.request({
    origin: cluster.couchUrl(gateway), path, method, body, headers,
  });
  return { status: answer.statusCode, headers: answer.headers, bytes: Buffer.from(await answer.body.arrayBuffer()) };
}

const md5 = (bytes) => `md5-${createHash('md5').update(bytes).digest('base64')}`;

function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(answer.json, { error, reason });
}

async function database(name) {
  const made = await couch('PUT', `/${name}`);
  assert.equal(made.status, 201, made.text);
  return `/${name}`;
}

describe('attachments in the CouchDB dialect', () => {
  before(async () => {
    cluster = await startCluster('couch-attachments', { gateways: 2 });
    cluster.couchUrl = (gateway) => `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`;
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    nano = nanoModule({ url: cluster.couchUrl(1), agentOptions: dispatcher });
    cluster.dispatcher = dispatcher;
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

  test('inline attachments are stored, shown as stubs and kept by stubs', async () => {
    const db = await database('inline');
    const data = Buffer.from('Hello, world\n');
    const made = await couch('PUT', `${db}/d`, {
      body: { v: 1, _attachments: { 'a.txt': { content_type: 'text/plain', data: data.toString('base64') } } },
    });
    assert.equal(made.status, 201, made.text);
    const stub = { content_type: 'text/plain', revpos: 1, digest: md5(data), length: data.length, stub: true };
    const read = await couch('GET', `${db}/d`, { gateway: 2 });
    assert.deepEqual(read.json, { _id: 'd', _rev: made.json.rev, v: 1, _attachments: { 'a.txt': stub } });
    const whole = await couch('GET', `${db}/d?attachments=true&revs=true&conflicts=true`);
    assert.equal(whole.json._attachments['a.txt'].data, data.toString('base64'));
    assert.equal(whole.json._attachments['a.txt'].stub, undefined);
    assert.equal(whole.json._revisions.start, 1);
    // the document as it was read, written back
    const kept = await couch('PUT', `${db}/d`, { body: { ...read.json, v: 2 } });
    assert.equal(kept.status, 201, kept.text);
    assert.deepEqual((await couch('GET', `${db}/d`)).json._attachments, { 'a.txt': stub });
    // without its stub it goes; the older revision still has it
    const gone = await couch('PUT', `${db}/d`, { body: { _rev: kept.json.rev, v: 3 } });
    assert.equal((await couch('GET', `${db}/d`)).json._attachments, undefined);
    assert.equal((await couch('GET', `${db}/d/a.txt`)).json.reason, 'Document is missing attachment');
    const old = await raw('GET', `${db}/d/a.txt?rev=${kept.json.rev}`);
    assert.equal(old.status, 200);
    assert.deepEqual(old.bytes, data);
    // a stub of what is not there
    const missing = await couch('PUT', `${db}/d`, { body: { _rev: gone.json.rev, _attachments: { 'a.txt': { stub: true } } } });
    expectError(missing, 412, 'missing_stub', 'Invalid attachment stub in d for a.txt');
  });

  test('an attachment that is not what it says is refused', async () => {
    const db = await database('refused');
    const put = (attachments) => couch('PUT', `${db}/d`, { body: { _attachments: attachments } });
    expectError(await put({ _a: { data: '' } }), 400, 'bad_request', "Attachment name '_a' starts with prohibited character '_'");
    for (const bad of [{ data: '???' }, { data: 5 }, {}, { data: 'YQ' }])
      expectError(await put({ 'foo.txt': bad }), 400, 'bad_request', 'Invalid attachment data for foo.txt');
    assert.equal((await put({ 'foo.txt': 'text' })).status, 400);
    assert.equal((await couch('PUT', `${db}/d`, { body: { _attachments: [] } })).status, 400);
    assert.equal((await couch('GET', `${db}/d`)).status, 404);
    expectError(await couch('PUT', `${db}/_local/x/foo.txt`, { body: {} }), 400, 'bad_request', '_local documents do not accept attachments.');
    const local = await couch('PUT', `${db}/_local/x`, { body: { a: 1, _attachments: { b: { data: 'YQ==' } } } });
    assert.equal(local.status, 201, local.text);
    assert.equal((await couch('GET', `${db}/_local/x`)).json._attachments, undefined);
    // the native dialect shows them, and takes no others
    const native = await cluster.put('/refused/n', { _attachments: { a: { content_type: 'x' } } });
    assert.equal(native.status, 400, native.text);
    assert.deepEqual([native.json.code, native.json.place], ['bad_attachment', '/_attachments/a']);
  });

  test('an attachment by itself: any bytes, any name, ranges, entity tags', async () => {
    const db = await database('single');
    const bytes = randomBytes(2 * MIB + 4711);
    const path = `${db}/doc%2Fwith%2Fslashes/my/text%3F%40`;
    const made = await raw('PUT', path, { body: bytes, headers: { 'content-type': 'image/x-test' } });
    assert.equal(made.status, 201, made.bytes.toString());
    const { rev, id } = JSON.parse(made.bytes);
    assert.equal(id, 'doc/with/slashes');
    const read = await raw('GET', path, { gateway: 2 });
    assert.equal(read.status, 200);
    assert.ok(read.bytes.equals(bytes));
    assert.equal(read.headers['content-type'], 'image/x-test');
    assert.equal(read.headers.etag, `"${md5(bytes).slice(4)}"`);
    assert.equal(read.headers['content-md5'], md5(bytes).slice(4));
    const again = await raw('GET', path, { headers: { 'if-none-match': read.headers.etag } });
    assert.equal(again.status, 304);
    assert.equal(again.bytes.length, 0);
    const head = await raw('HEAD', path);
    assert.equal(head.headers['content-length'], String(bytes.length));
    for (const [range, from, to] of [['0-0', 0, 1], ['5-', 5, bytes.length], ['-7', bytes.length - 7, bytes.length],
      [`${MIB - 3}-${2 * MIB + 3}`, MIB - 3, 2 * MIB + 4], [`${MIB}-${MIB}`, MIB, MIB + 1], ['10-99999999', 10, bytes.length]]) {
      const part = await raw('GET', path, { headers: { range: `bytes=${range}` } });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers['content-range'], `bytes ${from}-${to - 1}/${bytes.length}`);
      assert.ok(part.bytes.equals(bytes.subarray(from, to)), range);
    }
    const beyond = await raw('GET', path, { headers: { range: 'bytes=99999999-' } });
    assert.equal(beyond.status, 416);
    assert.equal(beyond.headers['content-range'], `bytes */${bytes.length}`);
    // another one beside it, and away with it
    const conflict = await raw('PUT', `${db}/${encodeURIComponent(id)}/b`, { body: 'x' });
    assert.equal(conflict.status, 409);
    const second = await raw('PUT', `${db}/${encodeURIComponent(id)}/b?rev=${rev}`, { body: '' });
    assert.equal(second.status, 201, second.bytes.toString());
    const doc = await couch('GET', `${db}/${encodeURIComponent(id)}`);
    assert.deepEqual(Object.keys(doc.json._attachments).sort(), ['b', 'my/text?@']);
    assert.equal(doc.json._attachments.b.length, 0);
    assert.equal(doc.json._attachments.b.revpos, 2);
    assert.equal((await raw('GET', `${db}/${encodeURIComponent(id)}/b`)).bytes.length, 0);
    assert.equal((await raw('DELETE', `${path}?rev=0`)).status, 400);
    assert.equal((await raw('DELETE', path)).status, 409);
    const third = await raw('DELETE', `${path}?rev=${JSON.parse(second.bytes).rev}`);
    assert.equal(third.status, 200, third.bytes.toString());
    assert.deepEqual(Object.keys((await couch('GET', `${db}/${encodeURIComponent(id)}`)).json._attachments), ['b']);
  });

  test('many documents at once, copies, and the same content again', async () => {
    const db = await database('many');
    const docs = Array.from({ length: 50 }, (_, i) => ({
      _id: `d${i}`,
      _attachments: { same: { content_type: 'a/b', data: 'c2FtZQ==' }, own: { content_type: 'a/b', data: Buffer.from(`own ${i}`).toString('base64') } },
    }));
    const written = await couch('POST', `${db}/_bulk_docs`, { body: { docs } });
    assert.equal(written.status, 201, written.text);
    assert.ok(written.json.every((row) => row.ok), written.text);
    for (const i of [0, 17, 49])
      assert.equal((await raw('GET', `${db}/d${i}/own`)).bytes.toString(), `own ${i}`);
    const copied = await couch('COPY', `${db}/d7`, { headers: { Destination: 'copy' } });
    assert.equal(copied.status, 201, copied.text);
    assert.equal((await raw('GET', `${db}/copy/own`)).bytes.toString(), 'own 7');
    // what is gone from most is still there for the last
    const gone = written.json.slice(1).map((row) => ({ _id: row.id, _rev: row.rev, _deleted: true }));
    assert.ok((await couch('POST', `${db}/_bulk_docs`, { body: { docs: gone } })).json.every((row) => row.ok));
    assert.equal((await raw('GET', `${db}/d0/same`)).bytes.toString(), 'same');
    assert.equal((await couch('GET', `${db}/d1/same`)).status, 404);
  });

  test('a copy has all bytes, in whatever shard', async () => {
    const db = await database('copies');
    const large = randomBytes(3 * MIB + 17);
    const doc = { v: 1, _attachments: { none: { data: '' }, large: { content_type: 'a/b', data: large.toString('base64') } } };
    const made = await couch('PUT', `${db}/d`, { body: doc });
    assert.equal(made.status, 201, made.text);
    for (const to of ['c1', 'c2', 'c3']) {
      const copied = await couch('COPY', `${db}/d`, { headers: { Destination: to } });
      assert.equal(copied.status, 201, copied.text);
      assert.ok((await raw('GET', `${db}/${to}/large`)).bytes.equals(large));
      const { json } = await couch('GET', `${db}/${to}`);
      assert.equal(json._attachments.large.digest, md5(large));
      assert.equal(json._attachments.none.length, 0);
    }
    const again = await couch('COPY', `${db}/d`, { headers: { Destination: 'c1' } });
    assert.equal(again.status, 409, again.text);
  });

  // Rows of a feed that has begun, one a line.
  function listen(path) {
    const feed = { rows: [], text: '' };
    feed.done = cluster.dispatcher.request({ origin: cluster.couchUrl(1), path, method: 'GET' }).then(async (answer) => {
      feed.status = answer.statusCode;
      for await (const part of answer.body) {
        feed.text += part;
        const lines = feed.text.split('\n');
        feed.text = lines.pop();
        feed.rows.push(...lines.filter((line) => line.trim() !== '').map((line) => JSON.parse(line)));
      }
    });
    return feed;
  }

  test('feeds have the data of attachments, however they wait', async () => {
    const db = await database('feeds');
    const parameters = 'include_docs=true&attachments=true&heartbeat=1000';
    const contents = Object.fromEntries([0, 1, 2 * MIB + 5, 10].map((bytes, i) => [`d${i}`, randomBytes(bytes)]));
    const feed = listen(`${db}/_changes?feed=continuous&${parameters}`);
    const poll = raw('GET', `${db}/_changes?feed=longpoll&${parameters}`);
    for (const [id, bytes] of Object.entries(contents))
      assert.equal((await raw('PUT', `${db}/${id}/a`, { body: bytes })).status, 201);
    const check = (rows) => {
      for (const { id, doc } of rows) {
        assert.ok(Buffer.from(doc._attachments.a.data, 'base64').equals(contents[id]), id);
        assert.equal(doc._attachments.a.stub, undefined);
      }
    };
    await until('all have been told', 30000, () => new Set(feed.rows.map(({ id }) => id)).size === 4);
    check(feed.rows);
    const polled = JSON.parse((await poll).bytes);
    assert.ok(polled.results.length > 0);
    check(polled.results);
    const normal = await couch('GET', `${db}/_changes?include_docs=true&attachments=true`);
    assert.equal(normal.json.results.length, 4);
    check(normal.json.results);
    assert.equal((await couch('DELETE', db)).status, 200);
    await feed.done;
    assert.ok(feed.rows.at(-1).last_seq);
  });

  test('nano inserts, gets and destroys attachments', async () => {
    await nano.db.create('nano');
    const db = nano.use('nano');
    const bytes = randomBytes(70000);
    const first = await db.attachment.insert('rabbit', 'rabbit.png', bytes, 'image/png');
    assert.equal(first.ok, true);
    assert.deepEqual(await db.attachment.get('rabbit', 'rabbit.png'), bytes);
    const second = await db.attachment.insert('rabbit', 'b.txt', 'text', 'text/plain', { rev: first.rev });
    const third = await db.attachment.destroy('rabbit', 'rabbit.png', { rev: second.rev });
    assert.equal(third.ok, true);
    assert.deepEqual(Object.keys((await db.get('rabbit'))._attachments), ['b.txt']);
  });

  test('PouchDB replicates attachments there, and reads them over HTTP', async () => {
    const db = await database('pouch');
    const bytes = randomBytes(5000);
    const local = new PouchDB('attachments-local', { adapter: 'memory' });
    const remote = new PouchDB(`${cluster.couchUrl(1)}${db}`, {
      adapter: 'http', fetch: (url, options) => PouchDB.fetch(url, { ...options, agent: cluster.agent }),
    });
    await local.put({ _id: 'd', _attachments: { 'a b/c': { content_type: 'image/png', data: bytes } } });
    const first = await local.get('d');
    await local.put({ ...first, v: 2 });
    const { rev } = await local.putAttachment('d', 'second.txt', (await local.get('d'))._rev, Buffer.from('text'), 'text/plain');
    assert.equal((await local.replicate.to(remote)).docs_written, 1);
    assert.ok(bytes.equals(await remote.getAttachment('d', 'a b/c')));
    const read = await remote.get('d', { attachments: true });
    assert.equal(read._rev, rev);
    assert.equal(read._attachments['second.txt'].data, Buffer.from('text').toString('base64'));
    assert.equal((await remote.get('d'))._attachments['a b/c'].revpos, 1);
    assert.equal((await remote.get('d'))._attachments['second.txt'].revpos, 3);
    const many = await remote.bulkGet({ docs: [{ id: 'd' }], attachments: true });
    assert.equal(many.results[0].docs[0].ok._attachments['second.txt'].data, Buffer.from('text').toString('base64'));
    const all = await remote.allDocs({ include_docs: true, attachments: true });
    assert.equal(all.rows[0].doc._attachments['second.txt'].data, Buffer.from('text').toString('base64'));
    const removed = await remote.removeAttachment('d', 'second.txt', rev);
    assert.equal(removed.ok, true);
    assert.deepEqual(Object.keys((await remote.get('d'))._attachments), ['a b/c']);
    await local.destroy();
  });

  // Parts as clients and CouchDB's replicator write them.
  function related(document, parts, boundary = 'b0undary') {
    const pieces = [Buffer.from(`--${boundary}\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(document)}`)];
    for (const { headers = {}, bytes } of parts) {
      const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
      pieces.push(Buffer.from(`\r\n--${boundary}\r\n${head}\r\n`), Buffer.from(bytes));
    }
    pieces.push(Buffer.from(`\r\n--${boundary}--`));
    return { body: Buffer.concat(pieces), headers: { 'content-type': `multipart/related; boundary="${boundary}"` } };
  }
  const follows = (bytes, more = {}) => ({ follows: true, content_type: 'a/b', length: bytes.length, ...more });

  test('attachments follow their document as parts, and are read so', async () => {
    const db = await database('parts');
    const small = Buffer.from('\r\n--b0undar and so on\r\n');
    const large = randomBytes(3 * MIB + 17);
    const text = Buffer.from('the same line again\n'.repeat(1000));
    const coded = gzipSync(text);
    const made = await raw('PUT', `${db}/d`, related({ v: 1, _attachments: {
      small: follows(small, { digest: md5(small) }), large: follows(large), inline: { data: 'aW4=' },
      text: follows(text, { encoding: 'gzip', encoded_length: coded.length, digest: md5(coded) }),
    } }, [{ bytes: small }, { headers: { 'Content-Disposition': 'attachment; filename="text"', 'Content-Encoding': 'gzip' }, bytes: coded }, { bytes: large }]));
    assert.equal(made.status, 201, made.bytes.toString());
    for (const [name, bytes] of Object.entries({ small, large, text, inline: Buffer.from('in') })) {
      const read = await raw('GET', `${db}/d/${name}`, { gateway: 2 });
      assert.ok(read.bytes.equals(bytes), name);
      assert.equal(read.headers['content-length'], String(bytes.length));
    }
    const whole = await raw('GET', `${db}/d?attachments=true`, { headers: { accept: 'multipart/related, application/json' } });
    assert.equal(whole.headers['content-length'], String(whole.bytes.length));
    const [, boundary] = /^multipart\/related; boundary="(.+)"$/.exec(whole.headers['content-type']);
    const document = JSON.parse(whole.bytes.subarray(whole.bytes.indexOf('{'), whole.bytes.indexOf(`\r\n--${boundary}`)).toString());
    assert.deepEqual(Object.keys(document._attachments), ['small', 'large', 'inline', 'text']);
    assert.equal(document._attachments.large.follows, true);
    assert.ok(whole.bytes.includes(large) && whole.bytes.includes(small) && whole.bytes.includes(text));
    assert.ok(whole.bytes.subarray(-2 - boundary.length - 2).equals(Buffer.from(`--${boundary}--`)));
    // as it came, under the same name, somewhere else
    const { rev } = JSON.parse(made.bytes);
    const target = await database('parts-too');
    const pushed = await raw('PUT', `${target}/d?new_edits=false`, { body: whole.bytes, headers: { 'content-type': whole.headers['content-type'] } });
    assert.equal(pushed.status, 201, pushed.bytes.toString());
    assert.equal(JSON.parse(pushed.bytes).rev, rev);
    assert.ok((await raw('GET', `${target}/d/large`)).bytes.equals(large));
    const open = await raw('GET', `${target}/d?open_revs=${encodeURIComponent(JSON.stringify([rev, '9-none']))}&revs=true`, { headers: { accept: 'multipart/mixed' } });
    const [, outer] = /^multipart\/mixed; boundary="(.+)"$/.exec(open.headers['content-type']);
    const mixed = open.bytes.toString('latin1').split(`--${outer}`);
    assert.equal(mixed.length, 4);
    assert.match(mixed[1], /^\r\nContent-Type: multipart\/related; boundary="/);
    assert.ok(open.bytes.includes(large));
    assert.equal(mixed[2], '\r\nContent-Type: application/json; error="true"\r\n\r\n{"missing":"9-none"}\r\n');
    assert.equal(mixed[3], '--');
    const data = await couch('GET', `${db}/d?attachments=true`, { headers: { accept: 'application/json' } });
    assert.equal(data.json._attachments.large.data, large.toString('base64'));
  });

  test('many documents are read as parts by who takes no JSON', async () => {
    const db = await database('bulk-parts');
    const large = randomBytes(2 * MIB + 3);
    const { id, rev } = JSON.parse((await raw('PUT', `${db}/d%C3%A9`, related({ _attachments: { large: follows(large) } }, [{ bytes: large }]))).bytes);
    const plain = (await couch('PUT', `${db}/plain`, { body: { n: 1 } })).json;
    const body = JSON.stringify({ docs: [{ id: 'none' }, { id }, { id: 'plain', rev: '9-none' }, { id: 'plain' }, { id: 'plain', rev: 'x' }, { id, rev }] });
    const get = async (accept, docs = body) => {
      const { status, headers, bytes } = await raw('POST', `${db}/_bulk_get?revs=true`, { body: docs, headers: { 'content-type': 'application/json', ...(accept && { accept }) } });
      assert.equal(status, 200, bytes.toString());
      const [, kind, outer] = /^(\S+?)(?:; boundary="(.+)")?$/.exec(headers['content-type']);
      return { kind, parts: bytes.toString('latin1').split(`--${outer}`) };
    };
    for (const accept of [undefined, 'application/json', 'multipart/mixed, */*', 'text/plain']) assert.equal((await get(accept)).kind, 'application/json', accept);
    assert.equal((await get('multipart/related')).kind, 'multipart/related');
    const { kind, parts } = await get('multipart/related, multipart/mixed');
    assert.equal(kind, 'multipart/mixed');
    assert.equal(parts.length, 8);
    assert.deepEqual([parts[0], parts[7]], ['', '--']);
    const failed = (reason) => `\r\nContent-Type: application/json; error="true"\r\n\r\n${JSON.stringify(reason)}\r\n`;
    assert.equal(parts[1], failed({ id: 'none', rev: 'undefined', error: 'not_found', reason: 'missing' }));
    assert.equal(parts[3], failed({ id: 'plain', rev: '9-none', error: 'not_found', reason: 'missing' }));
    assert.equal(parts[5], failed({ id: 'plain', rev: 'undefined', error: 'bad_request', reason: 'Invalid rev format' }));
    const shown = { _id: 'plain', _rev: plain.rev, _revisions: { start: 1, ids: [plain.rev.slice(2)] }, n: 1 };
    const [, type, json] = /^\r\nContent-Type: (\S+)\r\n\r\n(.*)\r\n$/.exec(parts[4]);
    assert.deepEqual([type, JSON.parse(json)], ['application/json', shown]);
    for (const part of [parts[2], parts[6]]) {
      const head = Buffer.from(part.slice(0, part.indexOf('\r\n\r\n')), 'latin1').toString();
      assert.match(head, new RegExp(`^\r\nX-Doc-Id: dé\r\nX-Rev-Id: ${rev}\r\nContent-Type: multipart/related; boundary="`));
      assert.ok(Buffer.from(part, 'latin1').includes(large));
    }
    assert.equal((await get('multipart/mixed', '{"docs":[]}')).parts.join('|'), '|--');
  });

  test("what CouchDB's own replicator asks, in its order, copies documents with their parts", async () => {
    const ask = async (method, path, body, headers) => {
      const { status, json, text } = await couch(method, path, { body, headers });
      return { status, json, text };
    };
    const [source, target] = [await database('recorded'), await database('recorded-too')];
    const bytes = randomBytes(100 * 1024);
    const attached = (await ask('PUT', `${source}/a`, { _attachments: { bin: { content_type: 'image/png', data: bytes.toString('base64') } } })).json;
    const plain = (await ask('PUT', `${source}/b`, { n: 1 })).json;
    const infos = await Promise.all([source, target].map(async (db) => (await ask('GET', `${db}/`)).json));
    for (const db of [source, target]) assert.equal((await ask('GET', `${db}/_local/c3d.%2B%3D%3D`)).status, 404);
    const changes = (await ask('GET', `${source}/_changes?feed=normal&style=all_docs&since=0&timeout=10000`)).json;
    const seen = Object.fromEntries(changes.results.map(({ id, changes: revs }) => [id, revs.map(({ rev }) => rev)]));
    assert.deepEqual((await ask('POST', `${target}/_revs_diff`, seen)).json, { a: { missing: [attached.rev] }, b: { missing: [plain.rev] } });
    const docs = [attached, plain].map(({ id, rev }) => ({ id, rev, atts_since: [] }));
    const got = await ask('POST', `${source}/_bulk_get?latest=true&revs=true&attachments=false`, { revs: true, latest: true, docs, attachments: false });
    const [first, second] = got.json.results.map((row) => row.docs[0].ok);
    assert.equal(first._attachments.bin.stub, true);
    assert.deepEqual(second._revisions, { start: 1, ids: [plain.rev.slice(2)] });
    // the one with attachments, as parts in parts
    const revs = encodeURIComponent(JSON.stringify([attached.rev]));
    const open = await raw('GET', `${source}/a?revs=true&open_revs=${revs}&latest=true`, { headers: { accept: 'multipart/mixed' } });
    const [, outer] = /^multipart\/mixed; boundary="(.+)"$/.exec(open.headers['content-type']);
    const begins = open.bytes.indexOf('\r\n\r\n') + 4;
    const [, type] = /Content-Type: (multipart\/related; boundary=".+")\r\n/.exec(open.bytes.subarray(0, begins).toString('latin1'));
    const related = open.bytes.subarray(begins, open.bytes.lastIndexOf(`\r\n--${outer}--`));
    const pushed = await raw('PUT', `${target}/a?new_edits=false`, { body: related, headers: { 'content-type': type } });
    assert.equal(pushed.status, 201, pushed.bytes.toString());
    const stored = await ask('POST', `${target}/_bulk_docs`, { new_edits: false, docs: [second] }, { 'X-Couch-Full-Commit': 'false' });
    assert.deepEqual([stored.status, stored.json], [201, []]);
    for (const [n, db] of [source, target].entries()) {
      const commit = await ask('POST', `${db}/_ensure_full_commit`);
      assert.deepEqual([commit.status, commit.json], [201, { ok: true, instance_start_time: infos[n].instance_start_time }]);
      const log = { session_id: 's', source_last_seq: changes.last_seq, replication_id_version: 4, history: [] };
      assert.equal((await ask('PUT', `${db}/_local/c3d.%2B%3D%3D`, log)).status, 201);
    }
    assert.ok((await raw('GET', `${target}/a/bin`)).bytes.equals(bytes));
    assert.deepEqual((await ask('POST', `${target}/_revs_diff`, seen)).json, {});
    assert.deepEqual((await ask('GET', `${source}/_changes?feed=normal&style=all_docs&since=${changes.last_seq}&timeout=10000`)).json.results, []);
  });

  test('parts that are not what they say are refused, and leave nothing', async () => {
    const db = await database('lies');
    const bytes = Buffer.from('hello');
    const put = async (document, parts) => {
      const answer = await raw('PUT', `${db}/d`, related({ _attachments: document }, parts));
      return { status: answer.status, text: answer.bytes.toString(), json: JSON.parse(answer.bytes) };
    };
    expectError(await put({ a: follows(bytes, { digest: md5('other') }) }, [{ bytes }]), 400, 'content_md5_mismatch', 'Possible message corruption.');
    expectError(await put({ a: follows('hello!') }, [{ bytes }]), 400, 'bad_request', 'attachment shorter than expected');
    expectError(await put({ a: follows('hell') }, [{ bytes }]), 400, 'bad_request', 'attachment longer than expected');
    for (const [member, value] of [['length', '5'], ['length', -1], ['length', 1.5], ['encoded_length', 'x'], ['digest', 'sha1-x'], ['digest', 7]])
      expectError(await put({ a: follows(bytes, { [member]: value }) }, [{ bytes }]), 400, 'bad_request', `Invalid attachment ${member} for a`);
    expectError(await put({ a: follows(bytes, { encoded_length: 5 }) }, [{ bytes }]), 400, 'bad_request', 'An attachment has `encoded_length`, but no `encoding`.');
    assert.equal((await put({ a: follows(bytes, { encoding: 'br' }) }, [{ bytes }])).json.error, 'bad_content_type');
    expectError(await put({ a: follows(bytes), b: follows(bytes) }, [{ bytes }]), 400, 'bad_request', 'attachment shorter than expected');
    expectError(await put({ a: follows(bytes) }, [{ bytes }, { bytes }]), 400, 'bad_request', 'There are more parts than attachments that follow.');
    expectError(await put({ a: follows(bytes, { encoding: 'gzip' }) }, [{ bytes }]), 400, 'bad_request', 'An attachment is not coded as it is said to be.');
    const endless = related({ _attachments: { a: follows(bytes, { length: -7 }) } }, [{ bytes }]);
    const greatest = Buffer.from(endless.body.toString('latin1').replace('"length":-7', '"length":18446744073709551615'), 'latin1');
    const refused = await raw('PUT', `${db}/d`, { body: greatest, headers: endless.headers });
    expectError({ status: refused.status, json: JSON.parse(refused.bytes) }, 400, 'bad_request', 'Invalid attachment length for a');
    const many = Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`a${i}`, { data: '' }]));
    const filled = await raw('PUT', `${db}/d`, { body: JSON.stringify({ _attachments: many }), headers: { 'content-type': 'application/json' } });
    expectError({ status: filled.status, json: JSON.parse(filled.bytes) }, 400, 'bad_request', 'A document has at most 1024 attachments.');
    const headers = { 'content-type': 'multipart/related' };
    const none = await raw('PUT', `${db}/d`, { body: bytes, headers });
    expectError({ status: none.status, json: JSON.parse(none.bytes) }, 400, 'bad_request', 'The multipart body has no boundary.');
    const { body, headers: type } = related({ _attachments: { a: follows(bytes) } }, [{ bytes }]);
    const cut = await raw('PUT', `${db}/d`, { body: body.subarray(0, body.length - 4), headers: type });
    expectError({ status: cut.status, json: JSON.parse(cut.bytes) }, 400, 'bad_request', 'The multipart body has no end.');
    const wrong = await raw('PUT', `${db}/d/a`, { body: bytes, headers: { 'content-md5': md5('other').slice(4) } });
    assert.equal(wrong.status, 400, wrong.bytes.toString());
    assert.equal((await couch('GET', `${db}/d`)).status, 404);
  });

  test('an Idempotency-Key names one content, however it comes', async () => {
    const db = await database('keys');
    const [one, other] = [randomBytes(MIB + 3), randomBytes(MIB + 3)];
    const headers = { 'idempotency-key': 'k1', 'content-type': 'a/b' };
    const put = async (path, options) => {
      const answer = await raw('PUT', `${db}/${path}`, options);
      return { status: answer.status, json: JSON.parse(answer.bytes) };
    };
    const first = await put('d/a', { body: one, headers });
    assert.equal(first.status, 201);
    const again = await put('d/a', { body: one, headers });
    assert.deepEqual(again, first);
    for (const [path, options] of [['d/a', { body: other, headers }], ['d/b', { body: one, headers }], ['d/a', { body: one, headers: { ...headers, 'content-type': 'c/d' } }]])
      assert.equal((await put(path, options)).status, 422, path);
    const parts = (bytes, boundary) => {
      const { body, headers: type } = related({ v: 1, _attachments: { a: follows(bytes) } }, [{ bytes }], boundary);
      return { body, headers: { ...type, 'idempotency-key': 'k2' } };
    };
    const made = await put('e', parts(one));
    assert.equal(made.status, 201);
    assert.deepEqual(await put('e', parts(one, 'another')), made);
    assert.equal((await put('e', parts(other))).status, 422);
    assert.ok((await raw('GET', `${db}/e/a`)).bytes.equals(one));
  });

  test('nano writes and reads documents with their attachments', async () => {
    await nano.db.create('nano-parts');
    const db = nano.use('nano-parts');
    const bytes = Buffer.from(randomBytes(MIB).toString('hex')); // nano takes what it reads for text
    const made = await db.multipart.insert({ v: 1 }, [{ name: 'a.bin', data: bytes, content_type: 'image/png' }], { docName: 'd' });
    assert.equal(made.ok, true);
    assert.deepEqual(await db.attachment.get('d', 'a.bin'), bytes);
    const read = await db.multipart.get('d');
    assert.ok(Buffer.from(read).includes(bytes));
  });

  test('versions with different attachments are merged into one that has them all', async () => {
    const db = await database('merged');
    const attachment = (text) => ({ content_type: 'text/plain', data: Buffer.from(text).toString('base64') });
    const made = await couch('PUT', `${db}/d`, { body: { _attachments: { base: attachment('base') } } });
    const hash = made.json.rev.slice(2);
    const push = (id, attachments) => ({ _id: 'd', _revisions: { start: 2, ids: [id, hash] }, _attachments: attachments });
    const pushed = await couch('POST', `${db}/_bulk_docs`, {
      body: { new_edits: false, docs: [push('left', { base: { stub: true }, left: attachment('left') }), push('right', { right: attachment('right') })] },
    });
    assert.deepEqual(pushed.json, [], pushed.text);
    await until('the arbiter has merged them', 30000, async () => {
      const read = await couch('GET', `${db}/d?conflicts=true`);
      return read.json._conflicts === undefined && read.json._attachments?.left && read.json._attachments?.right && !read.json._attachments.base;
    });
    assert.equal((await raw('GET', `${db}/d/left`)).bytes.toString(), 'left');
    assert.equal((await raw('GET', `${db}/d/right`)).bytes.toString(), 'right');
  });

  test('who resolves a conflict can say nothing else of an attachment than a version does', async (c) => {
    await c.collection('files-by-hand', { mode: 'available', shards: 1, policy: { strategy: 'none' } });
    const inline = { f: { content_type: 'text/plain', data: Buffer.from('hello').toString('base64') } };
    const docs = ['a', 'b'].map((letter) => ({ _id: 'd', by: letter, _attachments: letter === 'a' ? inline : undefined, _revisions: { start: 1, ids: [letter.repeat(32)] } }));
    assert.equal((await couch('POST', '/files-by-hand/_bulk_docs', { body: { new_edits: false, docs } })).status, 201);
    const { leaves, versions } = (await c.get('/_/conflicts/files-by-hand/d')).json;
    const { f } = versions.find((version) => version.document._attachments).document._attachments;
    const resolve = (stub) => c.post('/_/conflicts/files-by-hand/d/resolve', { leaves, document: { _attachments: { f: stub } } });
    for (const wrong of [{ length: 7777 }, { digest: 'md5-x' }, { revpos: 7 }]) {
      const { status, json } = await resolve({ ...f, ...wrong });
      assert.deepEqual([status, json.code, json.place], [412, 'missing_attachment', '/document/_attachments/f'], JSON.stringify(wrong));
    }
    for (const wrong of [{ ...f, more: 1 }, { content: f.content }]) {
      const { status, json } = await resolve(wrong);
      assert.deepEqual([status, json.code, json.place], [400, 'bad_attachment', '/document/_attachments/f'], JSON.stringify(wrong));
    }
    const done = await resolve(f);
    assert.equal(done.status, 200, done.text);
    assert.equal((await raw('GET', '/files-by-hand/d/f')).bytes.toString(), 'hello');
  });

  test('an attachment survives the loss of the process that leads its shard', async () => {
    const db = await database('survives');
    const bytes = randomBytes(MIB + 1);
    for (let i = 0; i < 6; i++)
      assert.equal((await raw('PUT', `${db}/d${i}/a`, { body: bytes })).status, 201);
    cluster.killNow('storage-1');
    for (let i = 0; i < 6; i++)
      await until('it is read', 30000, async () => {
        const read = await raw('GET', `${db}/d${i}/a`);
        return read.status === 200 && read.bytes.equals(bytes);
      });
  });
});
