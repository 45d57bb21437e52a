// Replication that the gateway runs itself: between its own databases, and with PouchDB Server as it comes from npm.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { startFront } from './couch-lib.mjs';
import { startPeer } from './couch-peer.mjs';
import { Cluster, check, choosePlace, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;
const WAIT_MS = 30000;
const LONG_WAIT_MS = 300000;
const MIB = 1024 * 1024;

let cluster;
let peer;
let outside; // this cluster by a name that makes it another server
const test = (what, body) => check(() => cluster, what, body);
const couch = (method, path, body, timeoutMs = WAIT_MS) => cluster.sendTo(new URL(path, cluster.couchUrl), { method, body, timeoutMs });

/** A database whose conflicts stay. */
async function database(name) {
  await cluster.collection(name, { policy: { strategy: 'none' } });
  return name;
}

async function fill(db, docs) {
  const answer = await couch('POST', `/${db}/_bulk_docs`, docs);
  assert.equal(answer.status, 201, answer.text);
}

const numbered = (count, from = 0) => ({ docs: Array.from({ length: count }, (_, n) => ({ _id: `doc-${from + n}`, n })) });

async function replicate(body, status = 200, timeoutMs = WAIT_MS) {
  const answer = await couch('POST', '/_replicate', body, timeoutMs);
  assert.equal(answer.status, status, answer.text);
  return answer.json;
}

const rowsOf = ({ rows }) => rows.map(({ id, value }) => `${id} ${value.rev}`);
const everything = async (db) => rowsOf((await couch('GET', `/${db}/_all_docs`)).json);

const peakMib = (pid) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

describe('the replicator', () => {
  before(async () => {
    peer = await startPeer();
    cluster = new Cluster('couch-replicator', await choosePlace());
    const self = `localhost:${cluster.base + COUCH_PORT_OFFSET}`;
    const key = (file) => join(cluster.dir, 'keys', file);
    await cluster.up({
      gateways: 1,
      settings: [
        'gateway.replicate_hosts=127.0.0.1, localhost:1',
        `gateway.replicate_ca=${key('ca.crt')}`,
        `gateway.replicate_cert=${key('admin.crt')}`,
        `gateway.replicate_key=${key('admin.key')}`,
      ],
    });
    cluster.couchUrl = `https://${self}`;
    outside = `https://127.0.0.1:${new URL(cluster.couchUrl).port}`;
  });
  after(async () => {
    await cluster?.down();
    peer?.close();
  });

  test('copies a database into another, with deletions and conflicts, and then only what is new', async () => {
    const source = await database('from');
    await fill(source, numbered(700));
    await fill(source, numbered(500, 700));
    await fill(source, { docs: [{ _id: 'doc-1', _rev: '1-other' }, { _id: 'gone', _rev: '2-x', _deleted: true }], new_edits: false });
    const missing = await replicate({ source, target: 'into' }, 404);
    assert.deepEqual(missing, { error: 'db_not_found', reason: 'could not open into' });
    const first = await replicate({ source, target: 'into', create_target: true });
    assert.equal(first.ok, true);
    const { docs_read, docs_written, doc_write_failures, missing_found, recorded_seq } = first.history[0];
    assert.deepEqual({ docs_read, docs_written, doc_write_failures, missing_found },
      { docs_read: 1202, docs_written: 1202, doc_write_failures: 0, missing_found: 1202 });
    assert.equal(recorded_seq, first.source_last_seq);
    // the conflict of doc-1 may be resolved by now; what it was of is known
    const others = (rows) => rows.filter((row) => !row.startsWith('doc-1 '));
    assert.deepEqual(others(await everything('into')), others(await everything(source)));
    const { _rev, _conflicts } = (await couch('GET', `/${source}/doc-1?conflicts=true`)).json;
    assert.deepEqual((await couch('POST', '/into/_revs_diff', { 'doc-1': [_rev, ..._conflicts] })).json, {});
    assert.equal((await replicate({ source, target: 'into' })).no_changes, true);
    await fill(source, numbered(3, 5000));
    const second = await replicate({ source, target: 'into' });
    assert.deepEqual([second.history.length, second.history[0].docs_written], [2, 3]);
    assert.equal(second.history[1].session_id, first.session_id);
  });

  test('pushes to PouchDB Server and pulls from it, and says no password', async () => {
    const source = await database('mine');
    await fill(source, numbered(300));
    const url = `http://ann:s3cret@${peer.host}/there`;
    const pushed = await replicate({ source, target: url, create_target: true });
    assert.equal(pushed.history[0].docs_written, 300);
    const there = new peer.Pouch('there');
    assert.equal((await there.info()).doc_count, 300);
    assert.equal(peer.seen.at(-1).authorization, `Basic ${Buffer.from('ann:s3cret').toString('base64')}`);
    assert.ok(!peer.seen.some((request) => request.url.includes('s3cret')));
    await there.put({ _id: 'theirs', n: 1 });
    await there.remove(await there.get('doc-7'));
    const pulled = await replicate({ source: { url: `${peer.url}/there` }, target: source });
    assert.equal(pulled.history[0].docs_written, 2);
    assert.equal((await couch('GET', `/${source}/theirs`)).json.n, 1);
    assert.equal((await couch('GET', `/${source}/doc-7`)).json.reason, 'deleted');
    assert.ok(!cluster.log('gateway-1').includes('s3cret'));
  });

  test('a document of nano\'s, with a password: sent to its server, told to nobody', async () => {
    const source = await database('planned');
    await fill(source, numbered(30));
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    const nano = nanoModule({ url: cluster.couchUrl, agentOptions: dispatcher });
    const target = { url: `${peer.url}/planned`, auth: { basic: { username: 'ann', password: 's3cret' } } };
    const { id } = await nano.use('_replicator').insert({ source, target, create_target: true });
    const done = await until('it is done', WAIT_MS, async () => {
      const { state, ...told } = (await couch('GET', `/_scheduler/docs/_replicator/${id}`)).json;
      return state === 'completed' && told;
    });
    assert.deepEqual([done.target, done.info.docs_written], [`${peer.url}/planned/`, 30]);
    assert.equal((await new peer.Pouch('planned').info()).doc_count, 30);
    const asked = peer.seen.filter(({ url }) => url.startsWith('/planned'));
    assert.ok(asked.every(({ authorization }) => authorization === `Basic ${Buffer.from('ann:s3cret').toString('base64')}`));
    assert.ok(!cluster.log('gateway-1').includes('s3cret'));
    assert.equal((await nano.use('_replicator').get(id)).target.auth.basic.password, 's3cret');
    await dispatcher.close();
  });

  test('nano\'s replicate, which makes addresses of both names', async () => {
    await fill(await database('nn'), numbered(20));
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    const { db } = nanoModule({ url: cluster.couchUrl, agentOptions: dispatcher });
    const first = await db.replicate('nn', 'nn2', { create_target: true });
    assert.deepEqual([first.ok, first.history[0].docs_written], [true, 20]);
    assert.equal((await db.replicate('nn', 'nn2')).no_changes, true);
    assert.deepEqual(await everything('nn2'), await everything('nn'));
    // and its enable, which makes a document of them
    const { id } = await db.replication.enable('nn', 'nn3', { create_target: true });
    await until('it is done', WAIT_MS, async () => (await couch('GET', `/_scheduler/docs/_replicator/${id}`)).json.state === 'completed');
    assert.deepEqual(await everything('nn3'), await everything('nn'));
    const { here, source, owner } = (await couch('GET', `/_replicator/${id}`)).json;
    assert.deepEqual([here, source, owner], [['source', 'target'], `${cluster.couchUrl}/nn`, 'admin']);
    await dispatcher.close();
  });

  test('only some documents: by id, by selector', async () => {
    const source = await database('some');
    await fill(source, numbered(20));
    const ids = await replicate({ source, target: 'byid', create_target: true, doc_ids: ['doc-3', 'doc-5', 'none'] });
    assert.equal(ids.history[0].docs_written, 2);
    const selected = await replicate({ source, target: 'bysel', create_target: true, selector: { n: { $gte: 15 } } });
    assert.equal(selected.history[0].docs_written, 5);
    const { json } = await couch('GET', `/${source}/doc-7`);
    assert.equal((await couch('DELETE', `/${source}/doc-7?rev=${json._rev}`)).status, 200);
    const living = await replicate({ source, target: 'living', create_target: true, selector: { _deleted: { $exists: false } } });
    assert.deepEqual([living.history[0].docs_written, living.history[0].doc_write_failures], [19, 0]);
    assert.equal((await couch('GET', '/living')).json.doc_del_count, 0);
  });

  test('goes on by itself while it is asked to, whatever happens to the other side', async () => {
    const source = await database('live');
    const begun = await replicate({ source, target: 'mirror', create_target: true, continuous: true }, 202);
    assert.match(begun._local_id, /^[0-9a-f]{32}\+continuous$/);
    await fill(source, numbered(10));
    await until('all is there', WAIT_MS, async () => (await everything('mirror')).length === 10);
    await fill(source, numbered(5, 100));
    await until('what came later, too', WAIT_MS, async () => (await everything('mirror')).length === 15);
    const [task, ...others] = (await couch('GET', '/_active_tasks')).json;
    assert.deepEqual([others, task.type, task.replication_id, task.source, task.target, task.continuous],
      [[], 'replication', begun._local_id, source, 'mirror', true]);
    await until('its counts', WAIT_MS, async () => (await couch('GET', '/_active_tasks')).json[0].docs_written === 15);
    const ended = await replicate({ source, target: 'mirror', continuous: true, cancel: true });
    assert.equal(ended._local_id, begun._local_id);
    await replicate({ replication_id: begun._local_id, cancel: true }, 404);
    assert.deepEqual((await couch('GET', '/_active_tasks')).json, []);
  });

  test('attachments go along, both ways', async () => {
    const source = await database('letters');
    const text = 'a letter '.repeat(5000);
    const data = Buffer.from(text).toString('base64');
    await fill(source, { docs: [{ _id: 'a', _attachments: { 'text.txt': { content_type: 'text/plain', data } } }, { _id: 'b' }] });
    const pushed = await replicate({ source, target: `${peer.url}/letters`, create_target: true });
    assert.deepEqual([pushed.history[0].docs_written, pushed.history[0].doc_write_failures], [2, 0]);
    const there = new peer.Pouch('letters');
    assert.equal((await there.get('a', { attachments: true }))._attachments['text.txt'].data, data);
    await there.put({ _id: 'c', _attachments: { 'more.bin': { content_type: 'application/octet-stream', data } } });
    const pulled = await replicate({ source: `${peer.url}/letters`, target: 'letters-back', create_target: true });
    assert.deepEqual([pulled.history[0].docs_written, pulled.history[0].doc_write_failures], [3, 0]);
    // one that goes by itself; of parts that server makes files, and leaves them
    process.env.TMPDIR = cluster.dir;
    const long = 'x'.repeat(14 << 20);
    assert.equal((await couch('PUT', '/letters-back/long/text', long, LONG_WAIT_MS)).status, 201);
    for (const [from, to] of [['letters-back', `${peer.url}/letters-long`], [`${peer.url}/letters-long`, 'letters-copy'], ['letters-copy', 'letters-last']]) {
      const copied = await replicate({ source: from, target: to, create_target: true }, 200, LONG_WAIT_MS);
      assert.deepEqual([copied.history[0].docs_written, copied.history[0].doc_write_failures], [4, 0], to);
    }
    assert.ok((await couch('GET', '/letters-last/long/text')).text === long);
    for (const path of ['a/text.txt', 'c/more.bin']) assert.equal((await couch('GET', `/letters-back/${path}`)).text, text);
  });

  test('attachments larger than a body go from server to server, and little of them is held', async () => {
    const gateway = cluster.pid('gateway-1');
    await database('vast');
    assert.equal((await couch('PUT', '/vast/d%2F1/of%2Fmany', randomBytes(64 * MIB + 4711), LONG_WAIT_MS)).status, 201);
    const { _rev: rev } = (await couch('GET', '/vast/d%2F1')).json;
    assert.equal((await couch('PUT', `/vast/d%2F1/small?rev=${rev}`, 'a')).status, 201);
    await fill('vast', numbered(10));
    let whole = 0; // of that the source gives no ranges, and breaks off the first answer that is taken whole
    const plain = await startFront(cluster, ({ url, headers }) => {
      const ranged = headers.range !== undefined;
      if (url.includes('many')) delete headers.range;
      return url.includes('many') && !ranged && whole++ === 0 ? 8 * MIB : Infinity;
    });
    try {
      const [source, target] = [`${plain.url}/vast`, `${outside}/vast-copy`];
      writeFileSync(`/proc/${gateway}/clear_refs`, '5'); // its peak begins anew
      const before = peakMib(gateway);
      const { history: [session] } = await replicate({ source, target, create_target: true }, 200, LONG_WAIT_MS);
      assert.deepEqual([session.docs_written, session.doc_write_failures, whole], [11, 0, 2]);
      const grown = peakMib(gateway) - before;
      assert.ok(grown < 128, `${grown} MiB`);
      assert.equal((await replicate({ source, target })).no_changes, true);
    } finally {
      plain.close();
    }
    assert.deepEqual((await couch('GET', '/vast-copy/d%2F1?revs=true')).json, (await couch('GET', '/vast/d%2F1?revs=true')).json);
    assert.equal((await couch('GET', '/vast-copy/d%2F1/small')).text, 'a');
  });

  test('asks another server by TLS, with a certificate', async () => {
    const source = await database('secure');
    await fill(source, numbered(150));
    const done = await replicate({ source: `${outside}/secure`, target: `${outside}/secure-copy`, create_target: true });
    assert.equal(done.history[0].docs_written, 150);
    assert.deepEqual(await everything('secure-copy'), await everything(source));
    await fill('secure-copy', { docs: [{ _id: 'doc-3', _rev: '1-them', n: 'them' }], new_edits: false });
    assert.equal((await replicate({ source: 'secure-copy', target: `${outside}/secure` })).history[0].docs_written, 1);
    assert.deepEqual(await everything('secure-copy'), await everything(source));
  });

  test('a gateway that dies in the middle is no loss: the next one goes on', async () => {
    const source = await database('long');
    for (let n = 0; n < 2; n++) await fill(source, numbered(750, n * 750));
    const body = { source, target: `${peer.url}/long`, create_target: true };
    const there = new peer.Pouch('long');
    const first = couch('POST', '/_replicate', body).catch(() => null);
    await until('a part is there', WAIT_MS, async () => (await there.info()).doc_count >= 500, 5);
    cluster.killNow('gateway-1');
    await first;
    await cluster.dev('restart', 'gateway-1');
    await cluster.ready('gateway-1');
    const second = await replicate(body);
    assert.equal(second.ok, true);
    assert.equal((await there.info()).doc_count, 1500);
    assert.deepEqual(rowsOf(await there.allDocs()), await everything(source));
  });

  test('what no other server takes stays behind', async () => {
    const source = await database('odd');
    await fill(source, numbered(20));
    await cluster.put(`/${source}/_native`, { from: 'the native dialect' });
    for (const target of ['even', `${peer.url}/even`]) {
      const { history: [session] } = await replicate({ source, target, create_target: true });
      assert.deepEqual([session.docs_written, session.doc_write_failures], [20, 0]);
    }
  });

  test('members with an underscore and the stub of a split go along, and come back as they were', async () => {
    const source = await database('stubs');
    await cluster.put(`/${source}/native`, { _foo: 1, '~_foo': 2 });
    await fill(source, { new_edits: false, docs: [{ _id: 'x', _rev: '1-aa', a: 1 }, { _id: 'x', _rev: '1-bb', b: 1 }] });
    const { json: shown } = await cluster.get(`/_/conflicts/${source}/x`);
    const split = await cluster.post(`/_/conflicts/${source}/x/resolve`, { leaves: shown.leaves, split: true });
    assert.equal(split.status, 200, split.text);
    for (const [from, to] of [[source, 'stubs-here'], [source, `${peer.url}/stubs`], [`${peer.url}/stubs`, 'stubs-back']]) {
      const { history: [session] } = await replicate({ source: from, target: to, create_target: true });
      assert.equal(session.doc_write_failures, 0);
    }
    const { json: stub } = await cluster.get(`/${source}/x`);
    for (const db of ['stubs-here', 'stubs-back']) {
      assert.deepEqual((await cluster.get(`/${db}/native`)).json, { id: 'native', _foo: 1, '~_foo': 2 });
      assert.deepEqual((await cluster.get(`/${db}/x`)).json, stub);
      assert.deepEqual(await everything(db), await everything(source));
    }
  });

  test('what this cluster can not take stays behind, and all else comes', async () => {
    const there = new peer.Pouch('strange');
    let deep = [];
    for (let level = 0; level < 110; level++) deep = [deep];
    await there.bulkDocs([
      { _id: 'a' }, { _id: 'b' }, { _id: 'c' },
      { _id: 'control\u0001' }, { _id: `long${'x'.repeat(600)}` }, { _id: 'deep', deep }, { _id: 'lone', text: '\ud800' },
    ]);
    const { history: [told] } = await replicate({ source: `${peer.url}/strange`, target: 'plain', create_target: true });
    assert.deepEqual([told.docs_written, told.doc_write_failures], [3, 4], JSON.stringify(told));
    assert.deepEqual((await everything('plain')).map((row) => row.split(' ')[0]), ['a', 'b', 'c']);
    for (const reason of ['unreadable', 'refused: forbidden'])
      await until(`the log says ${reason}`, WAIT_MS, () => cluster.log('gateway-1').includes(`reason="${reason}"`));
  });

  test('where nobody is it asks no longer than a moment', async () => {
    for (const body of [{ source: 'http://localhost:1/a', target: 'into' }, { source: 'into', target: `https://${peer.host}/a` }]) {
      const failed = await replicate(body, 500);
      assert.equal(failed.error, 'http_request_failed');
      assert.match(failed.reason, /^GET https?:\/\/[^ ]+\/a: ./);
    }
  });

  test('all comes over a network that breaks again and again', async () => {
    const source = await database('flap');
    await fill(source, numbered(600));
    const { port } = new URL(outside);
    let connections = 0;
    // every other connection is lost with the first answers on it, the others after a few
    const proxy = createServer((client) => {
      const server = connect(port, '127.0.0.1');
      let left = connections++ % 2 ? 24 : 7;
      const cut = () => [client, server].forEach((socket) => socket.destroy());
      for (const [from, to] of [[client, server], [server, client]]) {
        from.on('error', cut).on('close', cut);
        from.on('data', (data) => (left-- > 0 ? to.write(data) : cut()));
      }
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    try {
      const target = `https://127.0.0.1:${proxy.address().port}/flapped`;
      const job = { source, target, create_target: true, continuous: true };
      await replicate(job, 202);
      await until('all is there', WAIT_MS, async () => (await everything('flapped')).length === 600);
      await fill(source, numbered(5, 600));
      await until('what came later, too', WAIT_MS, async () => (await everything('flapped')).length === 605);
      assert.deepEqual(await everything('flapped'), await everything(source));
      assert.ok(connections >= 3, `${connections} connections`);
      await replicate({ ...job, cancel: true });
    } finally {
      proxy.close();
    }
  });

  test('refuses what it can not do', async () => {
    const bad = [
      [{ source: 'from' }, 400], [{ target: 'from' }, 400], [{ source: 5, target: 'x' }, 400], [{ source: '', target: 'x' }, 400],
      [{ source: 'http://', target: 'x' }, 400], [{ source: `${peer.url}/a?b`, target: 'x' }, 400],
      [{ source: `${peer.url}/`, target: 'x' }, 400], [{ source: { url: `${peer.url}/a`, headers: { Host: 'x' } }, target: 'x' }, 400],
      [{ source: { url: `${peer.url}/a`, headers: { 'X-Y': 'a\r\nb' } }, target: 'x' }, 400],
      [{ source: 'from', target: 'into', continuous: 5 }, 400], [{ source: 'from', target: 'into', doc_ids: 5 }, 400],
      [{ source: 'http://127.0.0.2:1/a', target: 'into' }, 403], [{ source: cluster.couchUrl.replace('https', 'http') + '/from', target: 'into' }, 403], [{ source: `http://${peer.host}@example.org/a`, target: 'into' }, 403],
      [{ source: 'nowhere', target: 'into' }, 404], [{ source: `${peer.url}/nowhere`, target: 'into' }, 404],
      [{ source: 'from', target: 'into', filter: 5 }, 400], [{ source: 'from', target: 'into', filter: 'a/b', query_params: 5 }, 400],
    ];
    for (const [body, status] of bad) {
      const answer = await couch('POST', '/_replicate', body);
      assert.equal(answer.status, status, JSON.stringify(body) + answer.text);
    }
  });
});
