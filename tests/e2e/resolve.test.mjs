// Conflicts in people's hands: shown with what differs and what each policy would do, resolved, taken apart again, and
// remembered; and policies as documents of system.policies. One cluster for both.
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const DEADLINE_MS = 15000;
const KEEP_MS = 3600000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const bare = (etag) => etag.replaceAll('"', '');

/** Two edits of one revision; gives the revisions of both and of their base. */
async function diverge(c, path, base, online, offline) {
  const first = await c.insist('PUT', path, { body: base });
  const second = await c.insist('PUT', path, { body: online, headers: { 'If-Match': first.etag } });
  const third = await c.insist('PUT', `${path}?branch=true`, { body: offline, headers: { 'If-Match': first.etag } });
  return { base: bare(first.etag), online: bare(second.etag), offline: bare(third.etag) };
}

const shown = (c, path) => c.get(`/_/conflicts${path}`);
const resolve = (c, path, body, headers) => c.send('POST', `/_/conflicts${path}/resolve`, { body, headers });

async function resolved(c, collection, id) {
  return until(`${collection}/${id} is resolved`, DEADLINE_MS, async () => {
    const { json } = await c.get(`/_/conflicts?collection=${collection}&state=resolved`);
    return json.find((row) => row.id === id);
  });
}

/** What happens to conflicts, as Server-Sent Events. */
async function listen(c, query, lastId) {
  const told = [];
  let rest = '';
  const stream = { told, lastId };
  const headers = { Accept: 'text/event-stream', ...(lastId && { 'Last-Event-ID': lastId }) };
  await new Promise((done, fail) => {
    const sent = request(c.url(`/_/conflicts${query}`), { ...c.tls, headers }, (answer) => {
      assert.equal(answer.statusCode, 200);
      answer.setEncoding('utf8');
      answer.on('error', () => {});
      answer.on('data', (text) => {
        const blocks = (rest + text).split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split('\n').filter((line) => !line.startsWith(':')).map((line) => line.split(/: ?(.*)/s)));
          if (fields.id) stream.lastId = fields.id;
          if (fields.data) told.push({ id: fields.id, data: JSON.parse(fields.data) });
        }
      });
      done();
    });
    stream.end = () => sent.destroy();
    sent.on('error', fail);
    sent.end();
  });
  return stream;
}

before(async () => { cluster = await startCluster('resolve', { gateways: 1 }); });
after(() => cluster?.down());

describe('conflicts in people\'s hands', () => {
  before(async () => {
    await cluster.collection('open', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'none' } });
    await cluster.collection('short', { mode: 'available', retainMs: 0, policy: { strategy: 'none' } });
    await cluster.collection('edits', { mode: 'available', retainMs: KEEP_MS });
    await cluster.collection('deletes', { mode: 'available', retainMs: KEEP_MS, policy: { deletes: 'delete-wins' } });
    await cluster.collection('auto', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'newest' } });
    await cluster.collection('merged', { mode: 'available', retainMs: KEEP_MS, policy: { strategy: 'merge' } });
  });

  test('a conflict is shown: versions, base, what differs, what each policy would do', async (c) => {
    const made = await diverge(c, '/open/a', { n: 0, tags: ['x'], same: 1 }, { n: 1, tags: ['x'], same: 1 }, { n: 0, same: 1, more: { deep: true } });
    const { status, json } = await shown(c, '/open/a');
    assert.equal(status, 200);
    assert.deepEqual([...json.leaves].sort(), [made.online, made.offline].sort());
    assert.equal(json.base.rev, made.base);
    assert.deepEqual(json.versions.map((version) => version.rev).sort(), [made.online, made.offline].sort());
    assert.deepEqual(json.paths, [
      { path: '/more/deep', values: { [made.offline]: true } },
      { path: '/n', base: 0, values: { [made.online]: 1, [made.offline]: 0 } },
      { path: '/tags', base: ['x'], values: { [made.online]: ['x'] } },
    ]);
    assert.equal(json.outcomes.policy.outcome, 'open');
    const { outcome, how, deleted, document } = json.outcomes.merge;
    assert.deepEqual([outcome, how, deleted, document], ['resolved', 'merge', false, { id: 'a', n: 1, same: 1, more: { deep: true } }]);
    assert.equal(json.outcomes.newest.document.more.deep, true);
    assert.equal(json.outcomes.oldest.document.n, 1);
    assert.equal((await c.get('/open/a')).headers['x-parley-conflicts'], '1', 'showing changes nothing');
  });

  test('it is resolved on exactly the leaves that are there', async (c) => {
    const { json } = await shown(c, '/open/a');
    const late = await resolve(c, '/open/a', { leaves: [json.leaves[0], '9-ffff'], pick: json.leaves[0] });
    assert.deepEqual([late.status, late.json.code, late.json.place], [409, 'leaves_moved', '/leaves']);
    const made = await resolve(c, '/open/a', { leaves: json.leaves, document: { n: 7, by: 'hand' } });
    assert.equal(made.status, 200, made.text);
    const read = await c.get('/open/a?revs=true');
    assert.equal(bare(read.etag), made.json.rev);
    assert.equal(read.json.n, 7);
    assert.equal(read.headers['x-parley-conflicts'], undefined);
    for (const leaf of json.leaves) assert.ok(read.json._revs.includes(leaf), 'its parents are all versions');
    const row = await resolved(c, 'open', 'a');
    assert.equal(row.resolutionId, made.json.resolutionId);
    assert.equal(row.detail.strategy, 'person');
    assert.equal((await shown(c, '/open/a')).status, 404);
    const again = await resolve(c, '/open/a', { leaves: json.leaves, document: { n: 7, by: 'hand' } });
    assert.deepEqual([again.status, again.json], [200, made.json], 'the same answer, as nobody knows whether the first one arrived');
    const other = await resolve(c, '/open/a', { leaves: json.leaves, document: { n: 8 } });
    assert.deepEqual([other.status, other.json.code], [409, 'leaves_moved']);
  });

  test('all leaves of a document that has many are shown', async (c) => {
    const { etag } = await c.insist('PUT', '/open/many', { body: { n: 0 } });
    for (let n = 1; n <= 70; n++) await c.insist('PUT', '/open/many?branch=true', { body: { n }, headers: { 'If-Match': etag } });
    const { json } = await shown(c, '/open/many');
    assert.deepEqual([json.leaves.length, json.leavesCount], [70, 70]);
    const [row] = (await c.get('/_/conflicts?collection=open&state=open')).json.filter(({ id }) => id === 'many');
    assert.deepEqual([row.leaves.length, row.leavesCount], [64, 70]);
    const made = await resolve(c, '/open/many', { leaves: json.leaves, pick: json.leaves[69] });
    assert.equal(made.status, 200, made.text);
    assert.equal(bare((await c.get('/open/many')).etag), made.json.rev);
  });

  test('it is the same answer still when the losers are gone and the policy is another', async (c) => {
    const made = await diverge(c, '/short/a', { n: 0 }, { n: 1 }, { n: 2 });
    const question = { leaves: [made.online, made.offline], pick: made.offline };
    const first = await resolve(c, '/short/a', question);
    assert.equal(first.status, 200, first.text);
    await until('the losers are gone', DEADLINE_MS, async () => (await c.get('/_/conflicts?collection=short')).json.length === 0);
    const { etag } = await c.get('/system.policies/short');
    const policy = await c.put('/system.policies/short', { strategy: 'none', deletes: 'delete-wins' }, { 'If-Match': etag });
    assert.equal(policy.status, 200, policy.text);
    const again = await resolve(c, '/short/a', question);
    assert.deepEqual([again.status, again.json], [200, first.json]);
    const other = await resolve(c, '/short/a', { ...question, pick: made.online });
    assert.deepEqual([other.status, other.json.code, other.json.place], [409, 'leaves_moved', '/leaves']);
  });

  test('who picks what somebody has edited meanwhile is told so', async (c) => {
    const made = await diverge(c, '/short/b', { n: 0 }, { n: 1 }, { n: 2 });
    const edited = await c.insist('PUT', '/short/b', { body: { n: 3 }, headers: { 'If-Match': `"${made.online}"` } });
    const late = await resolve(c, '/short/b', { leaves: [made.online, made.offline], pick: made.online });
    assert.deepEqual([late.status, late.json.code], [409, 'leaves_moved']);
    const leaves = [bare(edited.etag), made.offline];
    const never = await resolve(c, '/short/b', { leaves, pick: made.online });
    assert.deepEqual([never.status, never.json.place], [400, '/pick'], 'no leaf, and the leaves are known');
    assert.equal((await resolve(c, '/short/b', { leaves, pick: leaves[0] })).status, 200);
  });

  test('an answer that is sent many times at once counts once', async (c) => {
    const made = await diverge(c, '/open/many', { n: 0 }, { n: 1 }, { n: 2 });
    const body = { leaves: [made.online, made.offline], document: { n: 3 } };
    const answers = await Promise.all(Array.from({ length: 8 }, () => resolve(c, '/open/many', body)));
    for (const answer of answers) assert.deepEqual([answer.status, answer.json], [200, answers[0].json], answer.text);
    const { json } = await c.get('/_/conflicts?collection=open&state=resolved');
    assert.equal(json.filter((row) => row.id === 'many').length, 1);
  });

  test('a deletion against an edit is a conflict: shown, kept if people decide, flagged if a policy does', async (c) => {
    const first = await c.insist('PUT', '/open/gone', { body: { n: 0 } });
    const edit = await c.insist('PUT', '/open/gone', { body: { n: 1 }, headers: { 'If-Match': first.etag } });
    const removed = await c.insist('DELETE', '/open/gone?branch=true', { headers: { 'If-Match': first.etag } });
    const read = await c.get('/open/gone?conflicts=true');
    assert.deepEqual([read.json.n, read.headers['x-parley-conflicts'], read.json._conflicts], [1, '1', [bare(removed.etag)]]);
    const { json } = await c.get('/_/conflicts?collection=open&kind=delete&state=open');
    assert.deepEqual(json.map((row) => [row.id, row.leaves]), [['gone', [bare(edit.etag), bare(removed.etag)]]]);
    const one = await shown(c, '/open/gone');
    assert.equal(one.json.kind, 'delete');
    assert.deepEqual(one.json.versions.map((version) => version.deleted === true), [false, true]);
    assert.equal(one.json.outcomes.merge.document.n, 1);
    assert.deepEqual([one.json.outcomes.newest.deleted, 'document' in one.json.outcomes.newest], [true, false]);
    const chosen = await resolve(c, '/open/gone', { leaves: one.json.leaves, delete: true });
    assert.equal(chosen.status, 200, chosen.text);
    assert.equal((await c.get('/open/gone')).status, 404);
    const unknown = await c.send('POST', '/_/conflicts/open/gone/undo', { body: { resolutionId: '0'.repeat(32) } });
    assert.deepEqual([unknown.status, unknown.json.place], [404, '/resolutionId']);
    assert.match(unknown.json.detail, /cleaned up can't be undone/);
    const undone = await c.send('POST', '/_/conflicts/open/gone/undo', { body: { resolutionId: chosen.json.resolutionId } });
    assert.equal(undone.status, 200, undone.text);
    assert.equal((await c.get('/open/gone')).json.n, 1);
    const held = await shown(c, '/open/gone');
    assert.deepEqual([held.json.kind, held.json.held], ['delete', true]);
    assert.equal((await resolve(c, '/open/gone', { leaves: held.json.leaves, pick: held.json.versions[0].rev })).status, 200);
    assert.equal((await c.get('/open/gone')).json.n, 1);
  });

  test('edits win against deletions, or lose to them, as the policy says', async (c) => {
    const meet = async (path) => {
      const first = await c.insist('PUT', path, { body: { n: 0 } });
      await c.insist('DELETE', path, { headers: { 'If-Match': first.etag } });
      await c.insist('PUT', `${path}?branch=true`, { body: { n: 1 }, headers: { 'If-Match': first.etag } });
    };
    await meet('/edits/a');
    const row = await resolved(c, 'edits', 'a');
    assert.deepEqual([row.kind, row.detail.deletes, row.detail.deleted.length], ['delete', 'edit-wins', 1]);
    assert.equal((await c.get('/edits/a')).json.n, 1);
    const { json } = await c.get('/system.resolutions?query={"collection":"edits"}');
    assert.deepEqual(json.map((record) => [record.kind, record.detail.deletes]), [['delete', 'edit-wins']], 'the history has the flag');
    await meet('/deletes/a');
    assert.equal((await resolved(c, 'deletes', 'a')).detail.deletes, 'delete-wins');
    assert.equal((await c.get('/deletes/a')).status, 404);
    const plain = await c.insist('PUT', '/edits/plain', { body: {} });
    await c.insist('DELETE', '/edits/plain', { headers: { 'If-Match': plain.etag } });
    assert.deepEqual((await c.get('/_/conflicts?collection=edits')).json.map((open) => open.id), ['a'], 'deleting alone is none');
  });

  test('pick and delete', async (c) => {
    const picked = await diverge(c, '/open/b', { n: 0 }, { n: 1 }, { n: 2 });
    const chosen = await resolve(c, '/open/b', { leaves: [picked.online, picked.offline], pick: picked.offline });
    assert.equal(chosen.status, 200, chosen.text);
    assert.equal((await c.get('/open/b')).json.n, 2);
    const gone = await diverge(c, '/open/c', { n: 0 }, { n: 1 }, { n: 2 });
    assert.equal((await resolve(c, '/open/c', { leaves: [gone.online, gone.offline], delete: true })).status, 200);
    assert.equal((await c.get('/open/c')).status, 404);
  });

  test('a resolution is taken apart: its inputs are leaves again, and no arbiter touches them', async (c) => {
    await diverge(c, '/auto/a', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await resolved(c, 'auto', 'a');
    const undone = await c.send('POST', '/_/conflicts/auto/a/undo', { body: { resolutionId: row.resolutionId } });
    assert.equal(undone.status, 200, undone.text);
    const read = await c.get('/auto/a?conflicts=true');
    assert.equal(read.headers['x-parley-conflicts'], '1');
    const noted = await until('the arbiter leaves it to people', DEADLINE_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=auto&state=open');
      return json.find((open) => open.id === 'a' && open.detail?.reason === 'held');
    });
    assert.equal(noted.held, true);
    const held = { by: 'arbiter', reason: 'held' };
    const dry = await c.post('/_/policies/_test', { collection: 'auto', ids: ['a'] });
    assert.deepEqual(dry.json.map((one) => [one.held, one.outcome, one.detail]), [[true, 'open', held]]);
    const { outcomes } = (await shown(c, '/auto/a')).json;
    assert.deepEqual([outcomes.policy.outcome, outcomes.newest.outcome, outcomes.newest.detail], ['open', 'open', held]);
    assert.ok([1, 2].includes(outcomes.newest.document.n), 'what it would be');
    assert.deepEqual(noted.earlier.map((other) => [other.state, other.resolutionId]), [['undone', row.resolutionId]]);
    assert.equal((await c.get('/system.conflicts/auto%2Fa')).json.state, 'open', 'one row of the document');
    const values = await Promise.all([bare(read.etag), ...read.json._conflicts].map(async (rev) => (await c.get(`/auto/a?rev=${rev}`)).json.n));
    assert.deepEqual(values.sort(), [1, 2]);
    const again = await c.send('POST', '/_/conflicts/auto/a/undo', { body: { resolutionId: row.resolutionId } });
    assert.equal(again.status, 200, 'once more changes nothing');
    const { json } = await shown(c, '/auto/a');
    assert.equal((await resolve(c, '/auto/a', { leaves: json.leaves, pick: json.leaves[1] })).status, 200);
    assert.equal((await c.get('/auto/a')).headers['x-parley-conflicts'], undefined);
    const late = await c.send('POST', '/_/conflicts/auto/a/undo', { body: { resolutionId: row.resolutionId } });
    assert.deepEqual([late.status, late.json.code, late.json.place], [409, 'leaves_moved', '/resolutionId'], 'what came of it was resolved');
    const rows = (await c.get('/system.conflicts?query={"collection":"auto"}')).json;
    assert.deepEqual(rows.map((one) => [one.id, one.state, one.earlier.map((other) => other.state)]), [['auto/a', 'resolved', ['undone']]]);
    assert.equal((await c.get('/_/conflicts?collection=auto&state=undone')).json.length, 0, 'another resolution is newer');
  });

  test('people resolve and undo under locks as they write', async (c) => {
    const made = await diverge(c, '/open/locked', { n: 0 }, { n: 1 }, { n: 2 });
    const question = { leaves: [made.online, made.offline], pick: made.offline };
    const lock = await c.insist('POST', '/_/locks', { body: ['open/locked'] });
    const failing = { 'X-Lock-Strategy': 'fail' };
    const holding = { 'X-Lock-Id': lock.json.id };
    const refused = await resolve(c, '/open/locked', question, failing);
    assert.deepEqual([refused.status, refused.json.code], [423, 'locked']);
    assert.equal((await shown(c, '/open/locked')).json.leaves.length, 2);
    const done = await resolve(c, '/open/locked', question, holding);
    assert.equal(done.status, 200, done.text);
    const undo = (headers) => c.send('POST', '/_/conflicts/open/locked/undo', { body: { resolutionId: done.json.resolutionId }, headers });
    assert.equal((await undo(failing)).status, 423);
    const waits = undo();
    await c.insist('DELETE', `/_/locks/${lock.json.id}`);
    assert.equal((await waits).status, 200);
    assert.equal((await undo(holding)).status, 200, 'it is done');
    const { leaves } = (await shown(c, '/open/locked')).json;
    const lost = await resolve(c, '/open/locked', { leaves, delete: true }, holding);
    assert.deepEqual([leaves.length, lost.status, lost.json.code], [2, 412, 'lock_lost']);
    assert.equal((await resolve(c, '/open/locked', { leaves, delete: true })).status, 200);
  });

  test('lists say which documents are in conflict', async (c) => {
    await c.collection('lists', { mode: 'available', policy: { strategy: 'none' } });
    const made = await diverge(c, '/lists/listed', { n: 0, _conflicts: 'own' }, { n: 1, _conflicts: 'own' }, { n: 2, _conflicts: 'own' });
    await c.insist('PUT', '/lists/alone', { body: { n: 1 } });
    const query = { id: { $in: ['listed', 'alone'] } };
    const plain = await c.post('/lists/_query', { query });
    assert.equal(plain.headers['x-parley-conflicts'], '1');
    assert.deepEqual(plain.json.map((row) => row._conflicts), [undefined, 'own'], 'a member of its own');
    const read = await c.get('/lists/listed?conflicts=true');
    const [other] = [made.online, made.offline].filter((leaf) => leaf !== bare(read.etag));
    const asked = await c.post('/lists/_query', { query, conflicts: true, fields: ['n'] });
    assert.deepEqual(asked.json, [{ id: 'alone', n: 1 }, { id: 'listed', n: read.json.n, _conflicts: [other] }]);
    const got = await c.get(`/lists?conflicts=true&query=${encodeURIComponent(JSON.stringify(query))}`);
    assert.deepEqual(got.json.map((row) => row._conflicts), [undefined, [other]]);
    assert.equal((await c.post('/lists/_query', { query, conflicts: 1 })).json.place, '/conflicts');
  });

  test('what a person decided is a version like any other: who comes later is merged with it', async (c) => {
    const made = await diverge(c, '/merged/a', { title: 'a', n: 0 }, { title: 'b', n: 0 }, { title: 'c', n: 0 });
    const body = { leaves: [made.online, made.offline], document: { title: 'by hand', n: 0 } };
    const done = await resolve(c, '/merged/a', body);
    assert.equal(done.status, 200, done.text);
    await c.insist('PUT', '/merged/a?branch=true', { body: { title: 'a', n: 5 }, headers: { 'If-Match': `"${made.base}"` } });
    const row = await until('the arbiter merges', DEADLINE_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=merged&state=resolved');
      return json.find((found) => found.leaves.includes(done.json.rev));
    });
    assert.equal(row.detail.by, 'arbiter');
    const read = await c.get('/merged/a');
    assert.deepEqual(read.json, { id: 'a', title: 'by hand', n: 5 });
    assert.equal(read.headers['x-parley-conflicts'], undefined);
  });

  test('the history knows who did what', async (c) => {
    const query = encodeURIComponent(JSON.stringify({ documentId: 'a', collection: 'auto' }));
    const { json } = await c.get(`/system.resolutions?query=${query}&order=["asc(at)"]`);
    assert.deepEqual(json.map((row) => [row.action, row.detail.by === 'arbiter']), [['resolved', true], ['undone', false], ['resolved', false]]);
    assert.equal(json[0].resolutionId, json[1].resolutionId);
    const one = await c.get(`/system.resolutions/${encodeURIComponent(json[0].id)}`);
    assert.equal(one.json.action, 'resolved');
  });

  test('lists come in pages, by kind and age', async (c) => {
    for (let i = 0; i < 5; i++) await diverge(c, `/open/page-${i}`, { n: 0 }, { n: 1 }, { n: 2 });
    const ids = [];
    let cursor = '';
    do {
      const page = await c.get(`/_/conflicts?collection=open&state=open&limit=2&cursor=${cursor}`);
      assert.ok(page.json.length <= 2, page.text);
      ids.push(...page.json.map((row) => row.id));
      cursor = page.headers['x-parley-cursor'];
      assert.equal(page.headers['x-parley-more'], cursor && 'true');
    } while (cursor);
    assert.deepEqual(ids, [0, 1, 2, 3, 4].map((i) => `page-${i}`));
    assert.equal((await c.get('/_/conflicts?collection=open&state=open&kind=roots')).json.length, 0);
    assert.equal((await c.get('/_/conflicts?collection=open&state=open&kind=edits')).json.length, 5);
    assert.equal((await c.get(`/_/conflicts?collection=open&state=open&olderThanMs=${KEEP_MS}`)).json.length, 0);
  });

  test('what happens to conflicts comes as events, and goes on where it stopped', async (c) => {
    const all = await listen(c, '?collection=open');
    const deletes = await listen(c, '?kind=delete');
    const made = await diverge(c, '/open/live', { n: 0 }, { n: 1 }, { n: 2 });
    const first = await c.insist('PUT', '/open/dead', { body: { n: 0 } });
    await c.insist('DELETE', '/open/dead', { headers: { 'If-Match': first.etag } });
    await c.insist('PUT', '/open/dead?branch=true', { body: { n: 1 }, headers: { 'If-Match': first.etag } });
    const answer = await resolve(c, '/open/live', { leaves: [made.online, made.offline], pick: made.offline });
    const of = (told, id) => told.filter((event) => event.data.id === id).map((event) => [event.data.event, event.data.kind]);
    await until('it is told', DEADLINE_MS, () => of(all.told, 'live').length === 2 && of(all.told, 'dead').length === 1 && of(deletes.told, 'dead').length === 1);
    assert.deepEqual(of(all.told, 'live'), [['opened', 'edits'], ['resolved', 'edits']]);
    const resolution = all.told.find((event) => event.data.event === 'resolved' && event.data.id === 'live').data;
    assert.deepEqual([resolution.collection, resolution.revision, resolution.resolutionId], ['open', answer.json.rev, answer.json.resolutionId]);
    assert.deepEqual(deletes.told.map((event) => event.data.id), ['dead'], 'of this kind only');
    all.end();
    deletes.end();
    await c.send('POST', '/_/conflicts/open/live/undo', { body: { resolutionId: answer.json.resolutionId } });
    const dead = await shown(c, '/open/dead');
    await resolve(c, '/open/dead', { leaves: dead.json.leaves, pick: dead.json.leaves[0] });
    const again = await listen(c, '?collection=open', all.lastId);
    await until('what was missed comes', DEADLINE_MS, () => again.told.length >= 2);
    assert.deepEqual(again.told.map((event) => [event.data.id, event.data.event]).sort(), [['dead', 'resolved'], ['live', 'reopened']]);
    again.end();
    const { json } = await c.get('/_/conflicts?collection=open&state=open');
    for (const row of json.filter(({ id }) => id === 'live')) await resolve(c, '/open/live', { leaves: row.leaves, pick: row.leaves[0] });
  });

  test('what is malformed is refused, with the place', async (c) => {
    const leaves = ['1-a', '1-b'];
    const cases = [
      ['/resolve', {}, 400, '/leaves'],
      ['/resolve', { leaves: 'all', pick: '1-a' }, 400, '/leaves'],
      ['/resolve', { leaves: ['1-a'], pick: '1-a' }, 400, '/leaves'],
      ['/resolve', { leaves }, 400, ''],
      ['/resolve', { leaves, pick: '1-a', delete: true }, 400, ''],
      ['/resolve', { leaves, pick: 'none' }, 400, '/pick'],
      ['/resolve', { leaves, delete: 'yes' }, 400, '/delete'],
      ['/resolve', { leaves, document: [] }, 400, '/document'],
      ['/resolve', { leaves, document: { id: 'other' } }, 400, '/document/id'],
      ['/resolve', { leaves, pick: '1-a', picked: '1-a' }, 400, '/picked'],
      ['/undo', { resolutionId: '0'.repeat(32), force: true }, 400, '/force'],
      ['/undo', {}, 400, '/resolutionId'],
      ['/undo', { resolutionId: 'zz' }, 400, '/resolutionId'],
      ['/undo', { resolutionId: '0'.repeat(32) }, 404, '/resolutionId'],
    ];
    for (const [action, body, status, place] of cases) {
      const answer = await c.send('POST', `/_/conflicts/open/page-0${action}`, { body });
      assert.equal(answer.status, status, `${action} ${JSON.stringify(body)}: ${answer.text}`);
      assert.equal(answer.json.place ?? '', place, `${action} ${JSON.stringify(body)}: ${answer.text}`);
    }
    const { json } = await shown(c, '/open/page-0');
    const odd = await resolve(c, '/open/page-0', { leaves: json.leaves, pick: '9-ffff' });
    assert.deepEqual([odd.status, odd.json.place], [400, '/pick']);
    for (const parameter of ['kind=odd', 'limit=0', 'olderThanMs=-1', 'cursor=!', 'state=closed', 'limit=10001', 'statee=open']) {
      const answer = await c.get(`/_/conflicts?${parameter}`);
      assert.deepEqual([answer.status, answer.json.place], [400, parameter.split('=')[0]], answer.text);
    }
    for (const parameter of ['knd=edits', 'limit=1', 'state=open']) {
      const answer = await c.send('GET', `/_/conflicts?${parameter}`, { headers: { Accept: 'text/event-stream' } });
      assert.deepEqual([answer.status, answer.json.place], [400, parameter.split('=')[0]], answer.text);
    }
    await c.insist('PUT', '/open/calm', { body: {} });
    for (const [path, detail] of [['nowhere/a', /no collection/], ['open/nobody', /no document/], ['open/calm', /no open conflict/]]) {
      const { status, json } = await c.get(`/_/conflicts/${path}`);
      assert.deepEqual([status, json.place], [404, 'path'], path);
      assert.match(json.detail, detail);
    }
  });
});

// ---- policies as documents: the dry run, and what takes effect when one is changed ----

function openOnes(c, collection, count) {
  return until(`${count} conflicts of ${collection} are open`, DEADLINE_MS, async () => {
    const { json } = await c.insist('GET', `/_/conflicts?collection=${collection}&state=open`);
    return json.length === count && (count === 0 || json.every((row) => row.detail)) && json;
  });
}

const ask = (c, method, path, body, headers = {}) => c.send(method, path, { body, headers });

describe('policies', () => {
  let comes;

  before(async () => {
    await cluster.collection('care', { mode: 'available', policy: { strategy: 'none' } });
    await cluster.collection('plain');
  });

  test('they are listed, queried, and read one by one', async (c) => {
    const { json } = await c.insist('GET', '/system.policies?query={"id":{"$in":["care","plain"]}}');
    assert.deepEqual(json, [{ id: 'care', version: 1, strategy: 'none' }, { id: 'plain', version: 1, strategy: 'merge' }]);
    const one = await c.insist('GET', '/system.policies/care');
    assert.equal(one.etag, '"1"');
    assert.deepEqual(one.json, json[0]);
    assert.equal((await c.send('GET', '/system.policies/care', { headers: { 'If-None-Match': '"1"' } })).status, 304);
  });

  test('a dry run says what each policy would do, and changes nothing', async (c) => {
    await diverge(c, '/care/x', { a: 1, b: 1, log: [] }, { a: 2, b: 1, log: ['one'] }, { a: 1, b: 3, log: ['two'] });
    await diverge(c, '/care/y', { a: 1 }, { a: 2 }, { a: 3 });
    const before = await openOnes(c, 'care', 2);
    const dry = async (policy, more) => {
      const { status, json, text } = await c.insist('POST', '/_/policies/_test', { body: { collection: 'care', policy, ...more } });
      assert.equal(status, 200, text);
      return Object.fromEntries(json.map((row) => [row.id, row]));
    };
    const merged = await dry({ paths: { log: 'append' } });
    assert.equal(merged.x.outcome, 'resolved');
    assert.deepEqual(merged.x.document, { id: 'x', a: 2, b: 3, log: ['one', 'two'] });
    assert.equal(merged.y.outcome, 'open');
    assert.equal(merged.y.detail.open[0].path, 'a');
    comes = merged.x.revision;
    const people = { paths: { a: 'manual', log: 'append' }, fallback: 'script', script: '() => ({ delete: true })' };
    assert.equal((await dry(people, { ids: ['y'] })).y.detail.open[0].path, 'a', 'no script decides what waits for people');
    const picks = { paths: { a: 'manual' }, fallback: 'script', script: '(base, leaves) => ({ pick: leaves.find((leaf) => leaf.document.a === 1).rev })' };
    const picked = (await dry(picks, { ids: ['x'] })).x;
    assert.deepEqual(picked.document, { id: 'x', a: 2, b: 3, log: ['two'] }, 'nor drops what one side did to it');
    assert.deepEqual([picked.detail.fallbackFor, picked.detail.answer, picked.detail.manual], ['paths', 'pick', ['a']]);
    const newest = await dry({ strategy: 'merge', fallback: 'newest' });
    assert.deepEqual(newest.y.document, { id: 'y', a: 3 });
    const inForce = await dry(undefined, { ids: ['y', 'nothing'] });
    assert.equal(inForce.y.detail.reason, 'policy_none');
    assert.equal(inForce.nothing.outcome, 'none');
    assert.deepEqual((await openOnes(c, 'care', 2)).map((row) => row.leaves), before.map((row) => row.leaves));
  });

  test('a change needs the version it was made on, and takes effect', async (c) => {
    const stale = await ask(c, 'PUT', '/system.policies/care', { strategy: 'newest' }, { 'If-Match': '"7"' });
    assert.equal(stale.status, 409, stale.text);
    const put = await ask(c, 'PUT', '/system.policies/care', { paths: { log: 'append' } }, { 'If-Match': '"1"' });
    assert.deepEqual([put.status, put.etag, put.json.version], [200, '"2"', 2], put.text);
    const left = await openOnes(c, 'care', 1);
    assert.equal(left[0].id, 'y');
    const x = await c.get('/care/x');
    assert.deepEqual(x.json.log, ['one', 'two']);
    assert.equal(bare(x.etag), comes, 'as the dry run said');
    const patched = await ask(c, 'PATCH', '/system.policies/care', { fallback: 'oldest' });
    assert.deepEqual(patched.json, { id: 'care', version: 3, strategy: 'merge', paths: { log: 'append' }, fallback: 'oldest' });
    await openOnes(c, 'care', 0);
    assert.equal((await c.get('/care/y')).json.a, 2);
    const { json } = await c.insist('GET', '/_/conflicts?collection=care&state=resolved');
    assert.deepEqual(json.map((row) => [row.id, row.policyVersion]), [['x', 2], ['y', 3]]);
  });

  test('a reason is told of the conflict and the policy that it was given for, and of no other', async (c) => {
    await c.collection('reasons', { mode: 'available', policy: {} });
    await diverge(c, '/reasons/a', { x: 0, y: 0 }, { x: 1, y: 0 }, { x: 2, y: 0 });
    const [row] = await openOnes(c, 'reasons', 1);
    assert.equal(row.detail.open[0].path, 'x');
    assert.equal((await ask(c, 'PUT', '/system.policies/reasons', { strategy: 'external' })).status, 200);
    const rowNow = async () => (await c.insist('GET', '/_/conflicts?collection=reasons&state=open')).json[0];
    await until('the reason is gone', DEADLINE_MS, async () => (await rowNow()).detail === undefined);
    await ask(c, 'PUT', '/system.policies/reasons', {});
    await openOnes(c, 'reasons', 1);
    const done = await resolve(c, '/reasons/a', { leaves: row.leaves, document: { x: 5, y: 0 } });
    assert.equal(done.status, 200, done.text);
    await ask(c, 'PUT', '/system.policies/reasons', { strategy: 'external' });
    const headers = { 'If-Match': `"${done.json.rev}"` };
    await c.insist('PUT', '/reasons/a', { body: { x: 5, y: 1 }, headers });
    await c.insist('PUT', '/reasons/a?branch=true', { body: { x: 5, y: 2 }, headers });
    assert.equal((await rowNow()).detail, undefined);
  });

  test('mistakes are refused with their place; DELETE goes back to the default', async (c) => {
    const bad = await ask(c, 'PATCH', '/system.policies/care', { paths: { log: 'prepend' } });
    assert.deepEqual([bad.status, bad.json.place], [400, '/paths/log'], bad.text);
    assert.match(bad.json.detail, /"append"/);
    const idle = await ask(c, 'PUT', '/system.policies/care', { paths: { o: 'newest', 'o.d': 'manual' } });
    assert.deepEqual([idle.status, idle.json.place], [400, '/paths/o.d'], idle.text);
    const astray = await ask(c, 'PUT', '/system.policies/care', { references: [{ path: 'patient', collection: 'my patients' }] });
    assert.deepEqual([astray.status, astray.json.place], [400, '/references/0/collection'], astray.text);
    assert.equal((await ask(c, 'PUT', '/system.policies/nowhere', {})).status, 404);
    const gone = await ask(c, 'DELETE', '/system.policies/care');
    assert.deepEqual(gone.json, { id: 'care', version: 4, strategy: 'merge' });
  });
});
