// Passwords, cookies, rights and CORS of the CouchDB dialect, over connections without a certificate.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import PouchDB from 'pouchdb-core';
import httpAdapter from 'pouchdb-adapter-http';
import { Agent as Dispatcher, fetch as undiciFetch } from 'undici';
import { check, send, startCluster, until } from './lib.mjs';

PouchDB.plugin(httpAdapter);

const COUCH_PORT_OFFSET = -1459;
const APP = 'https://app.example.org';
const REFUSED = { error: 'unauthorized', reason: 'Authentication required.' };
const WRONG = { error: 'unauthorized', reason: 'Name or password is incorrect.' };

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const url = (path, gateway = 1) =>
  new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`);

/** With the certificate of the admin. */
const admin = (method, path, body) => cluster.sendTo(url(path), { method, body });

/** Without a certificate: who is nothing, "name:password" or a cookie. */
function phone(who, method, path, { body, headers = {}, gateway } = {}) {
  const credentials = !who ? {} : who.startsWith('AuthSession') ? { Cookie: who }
    : { Authorization: `Basic ${Buffer.from(who).toString('base64')}` };
  return send(url(path, gateway), { method, body, headers: { ...credentials, ...headers }, tls: { ca: cluster.tls.ca } });
}

async function user(name, password, roles = []) {
  const path = `/_users/org.couchdb.user:${name}`;
  const there = await admin('GET', path);
  const body = { name, password, roles, type: 'user', ...(there.status === 200 ? { _rev: there.json._rev } : {}) };
  const made = await admin('PUT', path, body);
  assert.equal(made.status, 201, made.text);
  return made.json.rev;
}

async function database(name, security) {
  assert.equal((await admin('PUT', `/${name}`)).status, 201);
  if (security) assert.deepEqual((await admin('PUT', `/${name}/_security`, security)).json, { ok: true });
}

async function login(name, password, gateway = 1) {
  const answer = await phone('', 'POST', '/_session', { body: { name, password }, gateway });
  assert.equal(answer.status, 200, answer.text);
  return { answer, cookie: answer.headers['set-cookie'][0].split(';')[0] };
}

describe('clients of the couch listener without certificates', () => {
  before(async () => {
    cluster = await startCluster('couch-auth', {
      gateways: 2,
      settings: ['gateway.couch_passwords=true', `gateway.couch_cors_origins=${APP}`, 'gateway.couch_cors_credentials=true',
        'gateway.couch_login_tries=8'],
    });
  });
  after(() => cluster?.down());

  test('get nothing without a password', async () => {
    for (const path of ['/', '/_session', '/_all_dbs', '/_users', '/nothing', '/nothing/here', '/_no_such']) {
      const answer = await phone('', 'GET', path);
      assert.equal(answer.status, 401, path);
      assert.deepEqual(answer.json, REFUSED);
    }
    assert.equal((await phone('', 'GET', '/_up')).status, 200);
    assert.equal((await phone('AuthSession=AAAA', 'GET', '/')).status, 401);
    assert.equal((await phone('', 'GET', '/', { headers: { Authorization: 'Basic: x' } })).status, 401);
    assert.equal((await admin('GET', '/_session')).json.userCtx.name, 'admin');
    await assert.rejects(send(cluster.url('/'), { tls: { ca: cluster.tls.ca } }).then((answer) => {
      if (answer.status === 403 || answer.status === 401) throw new Error('refused');
    }));
  });

  test('log in with a password that is kept as a hash only', async () => {
    await user('maria', 'secret:word', ['nurse']);
    const stored = (await admin('GET', '/_users/org.couchdb.user:maria')).json;
    assert.equal(stored.password, undefined);
    assert.equal(stored.password_scheme, 'scrypt');
    assert.match(stored.derived_key, /^[0-9a-f]{64}$/);
    const me = (await phone('maria:secret:word', 'GET', '/_session')).json;
    assert.deepEqual(me.userCtx, { name: 'maria', roles: ['nurse'] });
    assert.equal(me.info.authenticated, 'default');
    assert.deepEqual((await phone('maria:wrong', 'GET', '/_session')).json, WRONG);
    assert.deepEqual((await phone('nobody:wrong', 'GET', '/_session')).json, WRONG);
    // a name that was looked for before it was there is known soon
    await user('nobody', 'wrong');
    assert.equal((await phone('nobody:wrong', 'GET', '/_session')).status, 200);
    for (const name of ['gateway-1', 'gateway-2']) assert.ok(!cluster.log(name).includes('secret:word'));
    // scrypt runs once for many requests
    const before = await cluster.metric('gateway-1', 'parley_couch_password_hashes_total');
    for (let i = 0; i < 20; i++) assert.equal((await phone('maria:secret:word', 'GET', '/')).status, 200);
    assert.equal(await cluster.metric('gateway-1', 'parley_couch_password_hashes_total'), before);
  });

  test('hold a session that ends with the password', async () => {
    await user('joe', 'first');
    assert.equal((await phone('', 'POST', '/_session', { body: { name: 'joe', password: 'no' } })).status, 401);
    const form = await phone('', 'POST', '/_session', {
      body: 'name=joe&password=first', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } });
    assert.deepEqual(form.json, { ok: true, name: 'joe', roles: [] });
    const { answer, cookie } = await login('joe', 'first');
    assert.match(answer.headers['set-cookie'][0], /; Expires=[^;]+ GMT; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=None$/);
    for (const gateway of [1, 2]) {
      const me = await phone(cookie, 'GET', '/_session', { gateway });
      assert.equal(me.json.userCtx.name, 'joe', 'all gateways share the secret');
      assert.equal(me.json.info.authenticated, 'cookie');
    }
    const foreign = await phone(cookie, 'GET', '/', { headers: { Origin: 'https://evil.example' } });
    assert.equal(foreign.status, 401, 'a cookie that a page of another site sends');
    const forged = cookie.slice(0, -2) + (cookie.endsWith('AA') ? 'BB' : 'AA');
    assert.equal((await phone(forged, 'GET', '/')).status, 401);
    const out = await phone(cookie, 'DELETE', '/_session');
    assert.match(out.headers['set-cookie'][0], /^AuthSession=; .*Max-Age=0/);
    await user('joe', 'second');
    assert.equal((await phone(cookie, 'GET', '/')).status, 401);
    assert.equal((await phone('joe:first', 'GET', '/')).status, 401);
    assert.equal((await phone('joe:second', 'GET', '/')).status, 200);
    await until('the other gateway has heard', 20000, async () => (await phone(cookie, 'GET', '/', { gateway: 2 })).status === 401);
  });

  test('have the rights that _security gives', async () => {
    await user('ann', 'pw', ['nurse']);
    await user('bob', 'pw');
    await user('eve', 'pw');
    await database('ward', { members: { names: [], roles: ['nurse'] }, admins: { names: ['bob'], roles: [] } });
    await database('closed');
    const to = (who, method, path, body) => phone(`${who}:pw`, method, path, { body });
    assert.equal((await to('ann', 'PUT', '/ward/x', { a: 1 })).status, 201);
    assert.equal((await to('ann', 'GET', '/ward/x')).json.a, 1);
    assert.equal((await to('eve', 'GET', '/ward/x')).status, 403);
    assert.deepEqual((await to('eve', 'GET', '/ward')).json,
      { error: 'forbidden', reason: 'You are not allowed to access this db.' });
    assert.equal((await to('ann', 'PUT', '/ward/_design/d', { views: {} })).status, 403);
    for (const edits of [{ docs: [{ _id: '_design/d' }, { _id: 'beside' }] }, { docs: [{ _id: '_design/d', _rev: '1-d' }, { _id: 'too', _rev: '1-t' }], new_edits: false }]) {
      const bulk = await to('ann', 'POST', '/ward/_bulk_docs', edits);
      assert.deepEqual([bulk.status, bulk.json[0].id, bulk.json[0].error], [201, '_design/d', 'forbidden'], bulk.text);
    }
    assert.deepEqual((await to('ann', 'GET', '/ward/_all_docs')).json.rows.map(({ id }) => id), ['beside', 'too', 'x']);
    assert.equal((await to('ann', 'PUT', '/ward/_security', {})).status, 403);
    assert.equal((await to('bob', 'PUT', '/ward/_design/d', { language: 'query' })).status, 201);
    assert.equal((await to('bob', 'GET', '/ward/_security')).json.admins.names[0], 'bob');
    for (const [method, path] of [['PUT', '/more'], ['DELETE', '/ward'], ['GET', '/_all_dbs'], ['GET', '/_membership']])
      assert.deepEqual((await to('bob', method, path)).json, { error: 'unauthorized', reason: 'You are not a server admin.' });
    assert.equal((await to('ann', 'GET', '/closed')).status, 403, 'nobody is a member of a new database');
    assert.deepEqual((await admin('GET', '/closed/_security')).json,
      { members: { roles: ['_admin'] }, admins: { roles: ['_admin'] } });
    assert.equal((await to('ann', 'GET', '/not_there')).status, 404);
    // what is changed counts at once here
    assert.equal((await to('bob', 'PUT', '/ward/_security', { members: { names: ['eve'] }, admins: { names: ['bob'] } })).status, 200);
    assert.equal((await to('eve', 'GET', '/ward/x')).status, 200);
    assert.equal((await to('ann', 'GET', '/ward/x')).status, 403);
    assert.equal((await admin('PUT', '/ward/_security', { admins: { names: 'bob' } })).status, 400);
  });

  test('let jobs do what they may do themselves', async () => {
    for (const name of ['ina', 'kim']) await user(name, 'pw', ['copier']);
    const members = { members: { names: [], roles: ['copier'] } };
    for (const name of ['here', 'there']) await database(name, members);
    await database('secret');
    const to = (who, method, path, body) => phone(`${who}:pw`, method, path, { body });
    assert.equal((await to('ina', 'PUT', '/here/x', { a: 1 })).status, 201);
    assert.equal((await admin('PUT', '/here/_design/d', {})).status, 201);
    const once = await to('ina', 'POST', '/_replicate', { source: 'here', target: 'there' });
    const { docs_written: written, doc_write_failures: failures } = once.json.history?.[0] ?? {};
    assert.deepEqual([written, failures], [1, 1], once.text);
    assert.ok((await cluster.metric('gateway-1', 'parley_replication_documents_total{result="refused"}')) >= 1);
    for (const body of [{ source: 'here', target: 'secret' }, { source: 'secret', target: 'there' }, { source: '_users', target: 'there' },
      { source: 'here', target: 'fresh', create_target: true }, { source: 'secret', target: 'there', user_ctx: { name: 'ina', roles: ['_admin'] } }]) {
      const answer = await to('ina', 'POST', '/_replicate', body);
      assert.ok([401, 403].includes(answer.status), answer.text);
      assert.match(answer.json.reason, / to access or create database /);
    }
    // by the address of the listener, with her credentials or none; another's make it another server
    const own = (who, db) => `${url('/').href.replace('https://', `https://${who}`)}${db}`;
    for (const who of ['', 'ina:pw@']) {
      const answer = await to('ina', 'POST', '/_replicate', { source: own(who, 'here'), target: own(who, 'there') });
      assert.equal(answer.json.ok, true, answer.text);
      assert.equal((await to('ina', 'POST', '/_replicate', { source: own(who, 'secret'), target: 'there' })).status, 403);
    }
    const other = await to('ina', 'POST', '/_replicate', { source: own('kim:pw@', 'here'), target: 'there' });
    assert.match(other.json.reason, /replicate_hosts/);
    const limited = await admin('POST', '/_replicate', { source: 'here', target: 'secret', user_ctx: { name: 'ina', roles: ['copier'] } });
    assert.equal(limited.status, 403, limited.text);
    // so many at once, and no more
    const endless = (n) => to('ina', 'POST', '/_replicate', { source: 'here', target: 'there', continuous: true, doc_ids: [`${n}`] });
    const begun = [];
    for (let n = 0; n < 8; n++) begun.push((await endless(n)).json._local_id);
    assert.equal((await endless(8)).status, 429);
    for (const id of begun) assert.equal((await to('kim', 'POST', '/_replicate', { cancel: true, replication_id: id })).status, 404);
    for (const id of begun) assert.equal((await to('ina', 'POST', '/_replicate', { cancel: true, replication_id: id })).status, 200);
    // documents of _replicator: their own
    const wanted = { source: 'here', target: 'secret', user_ctx: { name: 'ina', roles: ['_admin'] }, owner: 'kim' };
    assert.equal((await to('ina', 'PUT', '/_replicator/job-of-ina', wanted)).status, 404, 'it is not there yet');
    assert.equal((await admin('GET', '/_replicator')).status, 200);
    assert.equal((await to('ina', 'PUT', '/_replicator/job-of-ina', wanted)).status, 403, 'nobody is named');
    assert.equal((await admin('PUT', '/_replicator/_security', members)).status, 200);
    const made = await to('ina', 'PUT', '/_replicator/job-of-ina', wanted);
    assert.equal(made.status, 201, made.text);
    const { owner, user_ctx: rights } = (await to('ina', 'GET', '/_replicator/job-of-ina')).json;
    assert.deepEqual([owner, rights], ['ina', { name: 'ina', roles: ['copier'] }]);
    const told = async () => (await admin('GET', '/_scheduler/docs/_replicator/job-of-ina')).json;
    await until('it may not', 30000, async () => (await told()).state === 'crashing');
    assert.match((await told()).info.error, /^forbidden: /);
    for (const [method, path, body] of [['GET', '/_replicator/job-of-ina'], ['PUT', '/_replicator/job-of-ina', { ...wanted, _rev: made.json.rev }],
      ['DELETE', `/_replicator/job-of-ina?rev=${made.json.rev}`], ['GET', '/_replicator/_all_docs?include_docs=true'], ['GET', '/_replicator/_changes'],
      ['POST', '/_replicator', { ...wanted, _id: 'job-of-ina', _rev: made.json.rev }], ['POST', '/_replicator/_bulk_docs', { docs: [] }],
      ['PUT', '/_replicator/_design%2Fx', {}], ['GET', `/_replicator/job-of-ina?rev=${made.json.rev}`], ['GET', '/_replicator/job-of-ina?open_revs=all']])
      assert.equal((await to('kim', method, path, body)).status, 403, `${method} ${path}`);
    await until('it may now, and does', 30000, async () => {
      const { json } = await to('ina', 'GET', '/_replicator/job-of-ina');
      return (await to('ina', 'PUT', '/_replicator/job-of-ina', { ...json, target: 'there' })).status === 201;
    });
    await until('it is done', 30000, async () => (await told()).state === 'completed');
    const last = (await to('ina', 'GET', '/_replicator/job-of-ina')).json;
    assert.equal((await to('ina', 'DELETE', `/_replicator/job-of-ina?rev=${last._rev}`)).status, 200);
    assert.equal((await to('ina', 'GET', '/_replicator/job-of-ina')).json.reason, 'deleted');
  });

  test('see their own user document, and change no role of it', async () => {
    await user('own', 'pw', ['a']);
    await user('other', 'pw');
    const path = '/_users/org.couchdb.user:own';
    const own = (method, at, body) => phone('own:pw', method, at, { body });
    const { json } = await own('GET', path);
    assert.equal(json.name, 'own');
    for (const at of ['/_users/org.couchdb.user:other', '/_users', '/_users/_all_docs', '/_users/_design/x'])
      assert.equal((await own('GET', at)).status, 403, at);
    assert.equal((await own('POST', '/_users/_bulk_docs', { docs: [json] })).status, 403);
    assert.deepEqual((await own('PUT', path, { ...json, roles: ['a', 'b'] })).json,
      { error: 'forbidden', reason: 'Only _admin may set roles' });
    assert.equal((await own('PUT', `${path}?new_edits=false`, json)).status, 403);
    const { _rev, ...bare } = json;
    assert.equal((await own('PUT', path, bare)).status, 409);
    assert.equal((await own('PUT', path, { ...json, password: 'new' })).status, 201);
    assert.equal((await own('GET', path)).status, 401);
    assert.equal((await phone('own:new', 'GET', path)).status, 200);
    for (const wrong of [{ name: 'x' }, { roles: ['_admin'] }, { roles: 1 }, { type: 'x' }, { password: 1 }, { password: '' }]) {
      const body = { name: 'bad', type: 'user', roles: [], password: 'p', ...wrong };
      assert.equal((await admin('PUT', '/_users/org.couchdb.user:bad', body)).status, 403, JSON.stringify(wrong));
    }
    const bulk = await admin('POST', '/_users/_bulk_docs',
      { docs: [{ _id: 'org.couchdb.user:b', name: 'b', type: 'user', roles: [], password: 'p' }] });
    assert.equal(bulk.status, 403, 'passwords are hashed one by one');
    assert.equal((await cluster.get('/system.users')).status, 404, 'no other dialect can name it');
    assert.ok((await admin('GET', '/_all_dbs')).json.includes('_users'));
  });

  test('are stopped after too many wrong passwords', async () => {
    await user('target', 'right');
    assert.equal((await phone('target:right', 'GET', '/')).status, 200);
    let last;
    for (let i = 0; i < 9; i++) last = await phone(`target:wrong${i}`, 'GET', '/');
    assert.equal(last.status, 429);
    assert.equal(last.json.error, 'too_many_requests');
    assert.ok(Number(last.headers['retry-after']) > 0);
    assert.equal((await phone('target:right', 'GET', '/')).status, 200, 'who has just been known is not locked out');
  });

  test('from pages of another site pass by CORS', async () => {
    const asked = { Origin: APP, 'Access-Control-Request-Method': 'PUT', 'Access-Control-Request-Headers': 'content-type' };
    const preflight = await phone('', 'OPTIONS', '/ward/x', { headers: asked });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers['access-control-allow-origin'], APP);
    assert.equal(preflight.headers['access-control-allow-credentials'], 'true');
    assert.match(preflight.headers['access-control-allow-methods'], /\bPUT\b/);
    assert.match(preflight.headers['access-control-allow-headers'], /\bcontent-type\b/);
    assert.equal(preflight.headers['access-control-max-age'], '600');
    assert.equal((await phone('', 'OPTIONS', '/ward/x', { headers: { ...asked, Origin: 'https://evil.example' } })).status, 401);
    const refused = await phone('', 'GET', '/', { headers: { Origin: APP } });
    assert.equal(refused.status, 401);
    assert.equal(refused.headers['access-control-allow-origin'], APP, 'the page is told why');
    assert.match(refused.headers['access-control-expose-headers'], /etag/);
    const evil = await phone('', 'GET', '/_up', { headers: { Origin: 'https://evil.example' } });
    assert.equal(evil.headers['access-control-allow-origin'], undefined);
    assert.equal(evil.headers.vary, 'Origin');
  });

  test('may be nano and PouchDB', async () => {
    await user('app', 'pw');
    await database('synced', { members: { names: ['app'] }, admins: {} });
    const dispatcher = new Dispatcher({ connect: { ca: cluster.tls.ca } });
    try {
      const at = url('/');
      const basic = nanoModule({ url: `https://app:pw@${at.host}`, agentOptions: dispatcher });
      assert.equal((await basic.use('synced').insert({ n: 1 }, 'by-nano')).ok, true);
      const session = nanoModule({ url: at.href, agentOptions: dispatcher });
      assert.equal((await session.auth('app', 'pw')).name, 'app');
      assert.equal((await session.session()).userCtx.name, 'app');
      assert.equal((await session.use('synced').get('by-nano')).n, 1);
      const fetch = (to, options) => undiciFetch(to, { ...options, dispatcher });
      const pouch = new PouchDB(url('/synced').href, { skip_setup: true, auth: { username: 'app', password: 'pw' }, fetch });
      const { rev } = await pouch.put({ _id: 'by-pouch', n: 2 });
      assert.equal((await pouch.get('by-pouch'))._rev, rev);
      const stranger = new PouchDB(url('/closed').href, { skip_setup: true, auth: { username: 'app', password: 'pw' }, fetch });
      await assert.rejects(stranger.get('x'), { status: 403 });
    } finally {
      await dispatcher.close();
    }
  });
});
