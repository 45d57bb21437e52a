// Jobs that documents of _replicator ask for: shared out among gateways, taken over, resumed, told of.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { startFront } from './couch-lib.mjs';
import { Cluster, check, choosePlace, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;
const GATEWAY_STEP = 10;
const WAIT_MS = 30000;

let cluster;
let stopped; // a gateway
const test = (what, body) => check(() => cluster, what, body);
const couchUrl = (gateway) => `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * GATEWAY_STEP}`;
const couch = (method, path, body, gateway = 1) => cluster.sendTo(new URL(path, couchUrl(gateway)), { method, body, timeoutMs: WAIT_MS });

async function must(method, path, body, status = [200, 201, 202], gateway = 1) {
  const answer = await couch(method, path, body, gateway);
  assert.ok(status.includes(answer.status), `${method} ${path}: ${answer.status} ${answer.text}`);
  return answer.json;
}

const numbered = (count, from = 0) => ({ docs: Array.from({ length: count }, (_, n) => ({ _id: `doc-${from + n}`, n })) });
const idsOf = async (db, gateway = 1) => (await must('GET', `/${db}/_all_docs`, undefined, [200], gateway)).rows.map(({ id }) => id);
const job = (id, gateway = 1) => must('GET', `/_scheduler/docs/_replicator/${id}`, undefined, [200], gateway);
const inState = (id, state, gateway = 1) => until(`${id} is ${state}`, WAIT_MS, async () => (await job(id, gateway)).state === state && job(id, gateway));

describe('documents of _replicator', () => {
  before(async () => {
    cluster = new Cluster('couch-schedule', await choosePlace());
    await cluster.up({ gateways: 2, settings: ['gateway.replication_lease_ms=1000', 'gateway.replicate_hosts=localhost:1, 127.0.0.1'] });
    await must('PUT', '/from');
    await must('POST', '/from/_bulk_docs', numbered(60));
  });
  after(() => cluster?.down());

  test('one is a job, and says when it is done', async () => {
    assert.deepEqual((await must('GET', '/_scheduler/docs')).docs, []);
    await must('PUT', '/_replicator/once', { source: 'from', target: 'once', create_target: true });
    const told = await inState('once', 'completed');
    assert.deepEqual([told.database, told.doc_id, told.source, told.target, told.error_count], ['_replicator', 'once', 'from', 'once', 0]);
    assert.equal(told.info.docs_written, 60);
    const document = await must('GET', '/_replicator/once');
    assert.equal(document._replication_state, 'completed');
    assert.match(document._replication_state_time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(document._replication_stats.docs_written, 60);
    assert.match(document._rev, /^2-/);
    assert.equal(document.owner, 'admin');
    assert.equal((await idsOf('once')).length, 60);
  });

  test('what it can not be is refused, and what fails is tried again ever later', async () => {
    const bad = [[{ target: 'x' }, 403], [{ source: 'from', target: 5 }, 403], [{ source: 'from', target: '_replicator' }, 403], [{ source: 'from', target: 'x', continuous: 1 }, 403]];
    for (const [body, status] of bad) {
      const answer = await couch('PUT', '/_replicator/bad', body);
      assert.deepEqual([answer.status, answer.json.error], [status, 'forbidden'], answer.text);
    }
    await must('PUT', '/_replicator/crash', { source: 'nowhere', target: 'x' });
    const told = await inState('crash', 'crashing', 2);
    assert.match(told.info.error, /^db_not_found: could not open /);
    assert.ok(told.error_count >= 1);
    assert.equal((await must('GET', '/_scheduler/docs?states=crashing')).total_rows, 1);
    await must('DELETE', `/_replicator/crash?rev=${(await must('GET', '/_replicator/crash'))._rev}`);
    await must('GET', '/_scheduler/docs/_replicator/crash', undefined, [404], 2);
  });

  test('no one but administrators sees it, and no password is told', async () => {
    const source = 'https://ann:s3cret@localhost:1/away';
    await must('PUT', '/_replicator/secret', { source, target: 'from', continuous: true });
    const told = await until('it is told of', WAIT_MS, async () => {
      const { docs } = await must('GET', '/_scheduler/docs', undefined, [200], 2);
      return docs.find(({ doc_id, state }) => doc_id === 'secret' && state === 'running');
    });
    assert.equal(told.source, 'https://localhost:1/away/');
    for (const path of ['/_scheduler/jobs', '/_scheduler/docs', '/_active_tasks'])
      for (const gateway of [1, 2]) assert.ok(!JSON.stringify(await must('GET', path, undefined, [200], gateway)).includes('s3cret'));
    assert.equal((await must('GET', '/_replicator/secret')).source, source);
    assert.equal((await cluster.get('/system.replicator/secret')).status, 404);
    await must('GET', '/_replications/_all_docs', undefined, [404]);
    assert.deepEqual((await must('GET', '/_all_dbs')).filter((name) => name.startsWith('_')), ['_replicator']);
    await must('DELETE', `/_replicator/secret?rev=${(await must('GET', '/_replicator/secret'))._rev}`);
    for (const name of ['gateway-1', 'gateway-2']) assert.ok(!cluster.log(name).includes('s3cret'));
  });

  test('a gateway that dies in the middle of a job: another one goes on behind its last checkpoint', async () => {
    const data = Buffer.alloc(2000, 'a note ').toString('base64');
    const docs = Array.from({ length: 1500 }, (_, n) => ({ _id: `doc-${n}`, _attachments: { 'note.txt': { data } } }));
    for (const db of ['many', 'half']) await must('PUT', `/${db}`);
    for (let n = 0; n < 3; n++) await must('POST', '/many/_bulk_docs', { docs: docs.slice(n * 500, n * 500 + 500) });
    let saved = false; // the checkpoint behind the first 500
    let pieces = 0; // of 100, behind it
    let alive = 1;
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const front = await startFront(cluster, async ({ method, url }) => {
      saved ||= method === 'PUT' && url.includes('_local');
      if (saved && url.includes('_bulk_docs') && ++pieces === 3) await held;
      return Infinity;
    }, () => alive);
    try {
      await must('PUT', '/_replicator/half', { source: 'many', target: `${front.url}/half` });
      await until('it stands still in the middle', WAIT_MS, () => pieces === 3);
      const dead = (await job('half')).node;
      alive = dead === 'gateway-1' ? 2 : 1;
      await cluster.dev('pause', 'coordinator-1');
      cluster.killNow(dead);
      const told = await inState('half', 'completed', alive);
      await cluster.dev('resume', 'coordinator-1');
      assert.deepEqual([told.info.revisions_checked, told.info.doc_write_failures], [1000, 0]);
      assert.ok(told.info.docs_written < 1000, 'what was behind the checkpoint is known');
      assert.deepEqual(await idsOf('half', alive), await idsOf('many', alive));
      const sample = await must('GET', '/half/doc-1499?attachments=true', undefined, [200], alive);
      assert.equal(sample._attachments['note.txt'].data, data);
      await cluster.dev('restart', dead);
      await cluster.ready(dead);
    } finally {
      release();
      front.close();
    }
  });

  test('a gateway that dies loses its jobs to another one; a changed document is another job', async () => {
    await must('PUT', '/_replicator/live', { source: 'from', target: 'live', create_target: true, continuous: true });
    await inState('live', 'running');
    await until('all is there', WAIT_MS, async () => (await idsOf('live')).length === 60);
    const [task] = (await must('GET', '/_active_tasks', undefined, [200], 2)).filter(({ doc_id }) => doc_id === 'live');
    const dead = (await job('live')).node;
    const alive = dead === 'gateway-1' ? 2 : 1;
    assert.equal(task.node, dead);
    cluster.killNow(dead);
    await must('POST', '/from/_bulk_docs', numbered(5, 100), [201], alive);
    await until('what came later, too', WAIT_MS, async () => (await idsOf('live', alive)).length === 65);
    assert.equal((await job('live', alive)).node, `gateway-${alive}`);
    const document = await must('GET', '/_replicator/live', undefined, [200], alive);
    await must('PUT', '/_replicator/live', { ...document, target: 'live2' }, [201], alive);
    await until('into the other one', WAIT_MS, async () => (await idsOf('live2', alive)).length === 65);
    await cluster.dev('restart', dead);
    await cluster.ready(dead);
    // one that stops gives its jobs away
    stopped = `gateway-${alive}`;
    process.kill(cluster.pid(stopped), 'SIGTERM');
    const other = 3 - alive;
    await until('it runs there', WAIT_MS, async () => {
      const { state, node } = await job('live', other);
      return state === 'running' && node === dead;
    });
  });

  test('after a restart of all it goes on', async () => {
    const names = ['coordinator-1', 'storage-1', 'storage-2', 'storage-3', 'gateway-1', 'gateway-2'];
    for (const name of names.filter((one) => one !== stopped)) cluster.killNow(name);
    await cluster.dev('up');
    await cluster.ready('gateway-1');
    await until('written', WAIT_MS, async () => (await couch('POST', '/from/_bulk_docs', numbered(3, 200))).status === 201);
    await until('it is there', WAIT_MS, async () => (await idsOf('live2')).length === 68);
    const { _rev } = await must('GET', '/_replicator/live');
    await must('DELETE', `/_replicator/live?rev=${_rev}`);
    await until('nothing runs', WAIT_MS, async () => (await must('GET', '/_active_tasks')).length === 0);
    assert.deepEqual((await must('GET', '/_scheduler/jobs')).jobs, []);
  });
});
