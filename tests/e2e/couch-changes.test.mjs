// _changes: in pages, waiting, as a stream; through faults of leads and gateways; and as nano's clients follow it.
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const urlOf = (path, gateway = 1) =>
  new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`);

function couch(method, path, { body, headers, gateway } = {}) {
  return cluster.sendTo(urlOf(path, gateway), { method, body, headers });
}

async function database(name, shards = 2) {
  const made = await couch('PUT', `/${name}?q=${shards}`);
  assert.equal(made.status, 201, made.text);
  return `/${name}`;
}

async function write(db, id, body = {}, method = 'PUT', rev = '') {
  const answer = await couch(method, `${db}/${id}${rev && `?rev=${rev}`}`, { body: method === 'PUT' ? body : undefined });
  assert.ok(answer.status < 300, answer.text);
  return answer.json.rev;
}

async function changes(db, query = '', options = {}) {
  const answer = await couch(options.body ? 'POST' : 'GET', `${db}/_changes?${query}`, options);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const ids = ({ results }) => results.map(({ id }) => id);

/** A feed that goes on: its rows as they come, its heartbeats, its last line, and whether it has ended. */
function listen(db, query, gateway = 1) {
  const feed = { rows: [], beats: 0, open: false, ended: false, text: '', since: undefined };
  feed.asked = request(urlOf(`${db}/_changes?${query}`, gateway), { ...cluster.tls }, (answer) => {
    feed.open = answer.statusCode === 200;
    let rest = '';
    answer.setEncoding('utf8');
    answer.on('data', (part) => {
      feed.text += part;
      rest += part;
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        const line = rest.slice(0, end).replace(/^data: /, '').replace(/,$/, '');
        rest = rest.slice(end + 1);
        if (line === '') feed.beats++;
        if (!line.startsWith('{"seq"')) continue;
        feed.rows.push(JSON.parse(line));
        feed.since = feed.rows.at(-1).seq;
      }
    });
    answer.on('error', () => (feed.ended = true));
    answer.on('close', () => (feed.ended = true));
  });
  feed.asked.on('error', () => (feed.ended = true));
  feed.asked.end();
  feed.close = () => feed.asked.destroy();
  return feed;
}

describe('changes', () => {
  before(async () => {
    cluster = await startCluster('couch-changes', { gateways: 2 });
  });
  after(() => cluster?.down());

  test('each document stands once, at its latest change; pages go on from any sequence', async () => {
    const db = await database('pages', 1);
    for (const id of ['a', 'b', 'c', 'd']) await write(db, id, { id });
    const rev = await write(db, '_design/x', {});
    const gone = await write(db, 'a', undefined, 'DELETE', (await changes(db)).results.find(({ id }) => id === 'a').changes[0].rev);
    const all = await changes(db);
    assert.deepEqual(ids(all), ['b', 'c', 'd', '_design/x', 'a']);
    assert.equal(all.pending, 0);
    assert.deepEqual(all.results[4], { seq: all.results[4].seq, id: 'a', changes: [{ rev: gone }], deleted: true });
    assert.deepEqual((await changes(db, `since=${(await couch('GET', db)).json.update_seq}`)).results, []);
    let since = 0;
    const read = [];
    for (let left = 5; left > 0; left--) {
      const page = await changes(db, `limit=1&since=${since}`);
      assert.equal(page.pending, left - 1);
      read.push(...ids(page));
      since = page.last_seq;
    }
    assert.deepEqual(read, ids(all));
    assert.deepEqual((await changes(db, `since=${since}`)).results, []);
    for (const { seq } of all.results.slice(0, 3)) {
      const rest = await changes(db, '', { headers: { 'Last-Event-ID': seq } });
      assert.deepEqual(ids(rest), ids(all).slice(all.results.findIndex((row) => row.seq === seq) + 1));
    }
    assert.deepEqual(ids(await changes(db, 'descending=true')), ids(all).reverse());
    assert.deepEqual((await changes(db, 'since=now')).results, []);
    const sparse = await changes(db, 'seq_interval=2');
    assert.deepEqual(sparse.results.map(({ seq }) => seq === null), [true, false, true, false, true]);
    const [, , , design] = (await changes(db, 'include_docs=true&conflicts=true&attachments=true')).results;
    assert.deepEqual(design.doc, { _id: '_design/x', _rev: rev });
    assert.ok((await couch('GET', `${db}/b?local_seq=true`)).json._local_seq > 0);
  });

  test('many databases are described at once', async () => {
    await database('described');
    const some = await couch('POST', '/_dbs_info', { body: { keys: ['nowhere', 'described'] } });
    assert.deepEqual(some.json[0], { key: 'nowhere', error: 'not_found' });
    assert.equal(some.json[1].key, 'described');
    assert.deepEqual(Object.keys(some.json[1].info), Object.keys((await couch('GET', '/described')).json));
    assert.ok((await couch('GET', '/_dbs_info')).json.some(({ key }) => key === 'described'));
    assert.equal((await couch('POST', '/_dbs_info', { body: {} })).status, 400);
    assert.deepEqual((await couch('GET', '/_active_tasks')).json, []);
  });

  test('filters', async () => {
    const db = await database('filters');
    for (const id of ['a', 'b', 'c']) await write(db, id, { even: id === 'b' });
    await write(db, '_design/x', {});
    const filtered = (name, body) => changes(db, `filter=${name}`, { body });
    assert.deepEqual(ids(await filtered('_doc_ids', { doc_ids: ['c', 'a', 'nothing'] })).sort(), ['a', 'c']);
    assert.deepEqual(ids(await changes(db, `filter=_doc_ids&doc_ids=${encodeURIComponent('["b"]')}`)), ['b']);
    assert.deepEqual(ids(await filtered('_selector', { selector: { even: true } })), ['b']);
    assert.deepEqual(ids(await changes(db, 'filter=_design')), ['_design/x']);
    // each version for itself with style=all_docs, else the winner for all
    await cluster.collection('versions', { shards: 1, policy: { strategy: 'none' } });
    const versions = [['1-a', 'in'], ['1-b', 'out'], ['1-c', 'in'], ['2-d']].map(([_rev, ward]) => ({ _id: 'x', _rev, ...(ward ? { ward } : { _deleted: true }) }));
    const only = { _id: 'y', _rev: '1-y', ward: 'out' };
    assert.equal((await couch('POST', '/versions/_bulk_docs', { body: { docs: [...versions, only], new_edits: false } })).status, 201);
    const told = async (query, ward) => (await changes('/versions', `filter=_selector${query}`, { body: { selector: { ward } } }))
      .results.map(({ id, changes: revs }) => [id, ...revs.map(({ rev }) => rev)].join(' '));
    assert.deepEqual(await told('', 'in'), ['x 1-c']);
    assert.deepEqual(await told('', 'out'), ['y 1-y']);
    assert.deepEqual(await told('&style=all_docs', 'in'), ['x 1-c 1-a']);
    assert.deepEqual(await told('&style=all_docs', 'out'), ['x 1-b', 'y 1-y']);
    assert.deepEqual(await told('&style=all_docs', { $exists: false }), ['x 2-d']);
    assert.deepEqual(await told('&style=all_docs', 'none'), []);
    // what is no member of a body
    const z = ['1-z', '2-z'].map((_rev, n) => ({ _id: 'z', _rev, ...(n ? { _deleted: true, _revisions: { start: 2, ids: ['z', 'z'] } } : { ward: 'in' }) }));
    for (const doc of z) assert.equal((await couch('POST', '/versions/_bulk_docs', { body: { docs: [doc], new_edits: false } })).status, 201);
    const picked = async (query, selector) => ids(await changes('/versions', `filter=_selector${query}`, { body: { selector } })).sort().join('');
    assert.equal(await picked('', { _deleted: { $exists: false } }), 'xy');
    assert.equal(await picked('', { _deleted: true }), 'z');
    assert.equal(await picked('&style=all_docs', { _deleted: true }), 'xz');
    assert.equal(await picked('', { _rev: { $gt: '2' } }), 'z');
    assert.equal(await picked('', { _rev: '1-y' }), 'y');
    const refused = async (query, status, error, reason, body) => {
      const answer = await couch(body ? 'POST' : 'GET', `${db}/_changes?${query}`, { body });
      assert.deepEqual([answer.status, answer.json.error, answer.json.reason], [status, error, reason]);
    };
    await refused('filter=_doc_ids', 400, 'bad_request', '`doc_ids` filter parameter is not a list.', { doc_ids: 'a' });
    await refused('filter=_selector', 400, 'bad_request', 'Selector error: expected a JSON object', { selector: [] });
    await refused('filter=_view', 400, 'bad_request', '`view` filter parameter is not provided.');
    const malformed = "Malformed sequence supplied in 'since' parameter.";
    await refused('since=nonsense', 400, 'bad_request', malformed);
    await refused(`since=${(await changes(await database('other'))).last_seq}`, 400, 'bad_request', malformed);
    assert.equal((await couch('GET', '/nowhere/_changes')).status, 404);
  });

  test('attachments as stubs, or with their data', async () => {
    const db = await database('attachments');
    const f = { content_type: 'text/plain', data: 'aGVsbG8=' };
    await write(db, 'a', { _attachments: { f } });
    await write(db, 'b', {});
    const attachment = ({ results }) => results.find(({ id }) => id === 'a').doc._attachments.f;
    assert.equal(attachment(await changes(db, 'include_docs=true')).stub, true);
    assert.equal(attachment(await changes(db, 'include_docs=true&attachments=true')).data, f.data);
    assert.equal(attachment(await changes(db, 'include_docs=true&attachments=true&feed=longpoll')).data, f.data);
  });

  test('a long poll answers at once, later, or when its time is over', async () => {
    const db = await database('poll');
    await write(db, 'a');
    const first = await changes(db, 'feed=longpoll');
    assert.deepEqual(ids(first), ['a']);
    const nothing = await changes(db, `feed=longpoll&timeout=200&since=${first.last_seq}`);
    assert.deepEqual(nothing.results, []);
    const feed = listen(db, `feed=longpoll&heartbeat=100&include_docs=true&since=${first.last_seq}`, 2);
    await until('it beats', 10000, () => feed.beats > 1);
    await write(db, 'b', { n: 2 });
    await until('it has ended', 10000, () => feed.ended);
    const answer = JSON.parse(feed.text);
    assert.deepEqual(answer.results.map(({ doc }) => [doc._id, doc.n]), [['b', 2]]);
    assert.deepEqual((await changes(db, `since=${answer.last_seq}`)).results, []);
  });

  test('streams tell of changes as they come, and end with their database', async () => {
    const db = await database('streams');
    const lines = listen(db, 'feed=continuous&since=now&heartbeat=100');
    const events = listen(db, 'feed=eventsource&heartbeat=100', 2);
    await until('both are open', 10000, () => lines.beats > 0 && events.text.includes('event: heartbeat\ndata: \n\n'));
    for (let i = 0; i < 5; i++) await write(db, `d${i}`);
    await until('both have heard', 10000, () => lines.rows.length === 5 && events.rows.length === 5);
    assert.match(events.text, new RegExp(`\nid: ${events.since}\n\n`));
    const some = listen(db, 'feed=live&limit=3');
    await until('it has ended', 10000, () => some.ended);
    assert.equal(some.rows.length, 3);
    assert.match(some.text, /^\{"last_seq":"[^"]+","pending":2\}\n$/m);
    assert.equal((await couch('DELETE', db)).status, 200);
    await until('both have ended', 10000, () => lines.ended && events.ended);
  });

  test('feeds of the databases that the cluster keeps wait and are woken, too', async () => {
    assert.equal((await couch('GET', '/_replicator')).status, 200);
    const lines = listen('/_replicator', 'feed=continuous&since=now&heartbeat=100', 2);
    await until('it is open', 10000, () => lines.beats > 0);
    for (const id of ['_design/a', '_design/b']) await write('/_replicator', id);
    await until('it has heard', 10000, () => lines.rows.length === 2);
    assert.deepEqual(lines.rows.map(({ id }) => id).sort(), ['_design/a', '_design/b']);
    lines.close();
  });

  test('more than fits one answer comes as a stream, also to a client that is slow to take it', async () => {
    const db = await database('large');
    const text = 'x'.repeat(20000);
    for (let batch = 0; batch < 4; batch++) {
      const docs = Array.from({ length: 100 }, (_, i) => ({ _id: `d${batch}-${i}`, text }));
      assert.equal((await couch('POST', `${db}/_bulk_docs`, { body: { docs } })).status, 201);
    }
    const feed = listen(db, 'include_docs=true');
    await until('it has begun', 10000, () => feed.open);
    feed.asked.res.pause();
    await write(db, 'late');
    feed.asked.res.resume();
    await until('it has ended', 20000, () => feed.ended);
    const answer = JSON.parse(feed.text);
    assert.equal(answer.results.filter(({ id }) => id.startsWith('d')).length, 400);
    assert.equal(answer.results.every(({ id, doc }) => id === 'late' || doc.text === text), true);
  });

  test('nothing is skipped when leads and gateways die', async () => {
    const db = await database('faults', 4);
    const written = new Map();
    const seen = new Map();
    let feed = listen(db, 'feed=continuous&heartbeat=200');
    let writing = true;
    const writer = (async () => {
      for (let n = 0; writing; n++) {
        const id = `d${n % 20}`;
        const answer = await couch('PUT', `${db}/${id}${written.has(id) ? `?rev=${written.get(id)}` : ''}`, { body: { n }, gateway: 2 }).catch(() => undefined);
        if (answer?.status === 201) written.set(id, answer.json.rev);
        else written.set(id, (await until('it can be read', 30000, async () => {
          const read = await couch('GET', `${db}/${id}`, { gateway: 2 });
          return read.status === 200 ? read : read.status === 404 && { json: {} };
        })).json._rev);
        if (!written.get(id)) written.delete(id);
      }
    })();
    const take = () => {
      for (const { id, changes: [{ rev }] } of feed.rows.splice(0)) {
        assert.ok(Number.parseInt(rev) >= Number.parseInt(seen.get(id) ?? '0'), `${id}: ${rev} after ${seen.get(id)}`);
        seen.set(id, rev);
      }
    };
    await until('it has heard of some', 20000, () => feed.rows.length > 50);
    cluster.killNow('storage-1');
    take();
    await until('it goes on under other leads', 30000, () => feed.rows.length > 50);
    await cluster.dev('restart', 'storage-1');
    take();
    cluster.killNow('gateway-1');
    await until('it has broken off', 10000, () => feed.ended);
    take();
    feed = listen(db, `feed=continuous&heartbeat=200&since=${feed.since}`, 2);
    await until('it goes on at the other gateway', 20000, () => feed.rows.length > 50);
    writing = false;
    await writer;
    await until('all has been seen', 20000, () => {
      take();
      return [...written].every(([id, rev]) => seen.get(id) === rev);
    });
    feed.close();
    await cluster.dev('restart', 'gateway-1');
  });

  test('nano follows', async () => {
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    const nano = nanoModule({ url: urlOf('/').origin, agentOptions: dispatcher });
    const db = await database('nano');
    for (let i = 0; i < 7; i++) await write(db, `d${i}`, { i });
    const use = nano.db.use('nano');
    assert.equal((await use.changes({ include_docs: true })).results.length, 7);
    const reader = use.changesReader;
    const heard = [];
    const done = new Promise((resolve, reject) => reader.get({ batchSize: 3, since: '0', timeout: 200 })
      .on('change', ({ id }) => heard.push(id)).on('end', resolve).on('error', reject));
    await done;
    assert.equal(new Set(heard).size, 7);
    const live = [];
    reader.start({ since: 'now', includeDocs: true }).on('change', (change) => live.push(change)).on('error', () => {});
    await until('it waits', 10000, async () => (await cluster.metric('gateway-1', 'parley_notify_watchers')) > 0);
    await write(db, 'new', { i: 8 });
    await until('it has heard', 10000, () => live.some(({ doc }) => doc?.i === 8));
    reader.stop();
    await until('nobody waits', 10000, async () => (await cluster.metric('gateway-1', 'parley_notify_watchers')) === 0);
    await dispatcher.destroy();
  });
});
