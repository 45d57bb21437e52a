// Who gets in: clients with a certificate of this cluster's authority, made for clients, valid now. Nobody else.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect as plainConnect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { connect } from 'node:tls';
import { check, must, send, startCluster, until } from './lib.mjs';

const COUNTED = 'parley_http_rejected_total{reason="certificate"}';
const MEMBERS = ['coordinator-1', 'storage-1', 'gateway-1', 'arbiter-1'];

let cluster;
let folder;
const test = (what, body) => check(() => cluster, what, body);

function openssl(...args) {
  return must('openssl', args, { cwd: folder });
}

/** An authority of another cluster, or a copy of the real one's name on another key. */
async function makeAuthority(name, subject) {
  await openssl('req', '-x509', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256',
    '-days', '2', '-subj', subject, '-keyout', `${name}.key`, '-out', `${name}.crt`);
}

/** A leaf; `valid` are two moments of openssl's `ca` command, made in a folder of its own. */
async function makeLeaf(name, authority, usage, valid) {
  await openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
    '-keyout', `${name}.key`, '-out', `${name}.csr`);
  writeFileSync(join(folder, `${name}.cnf`), [
    '[ca]', 'default_ca=a', '[a]', `new_certs_dir=${folder}`, `database=${folder}/${name}.db`, 'default_md=sha256',
    `serial=${folder}/${name}.srl`, 'policy=p', 'x509_extensions=e', '[p]', 'commonName=supplied', '[e]',
    'basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${usage}`, '',
  ].join('\n'));
  writeFileSync(join(folder, `${name}.db`), '');
  writeFileSync(join(folder, `${name}.srl`), '1000\n');
  await openssl('ca', '-batch', '-notext', '-config', `${name}.cnf`, '-cert', `${authority}.crt`, '-keyfile',
    `${authority}.key`, '-startdate', valid[0], '-enddate', valid[1], '-in', `${name}.csr`, '-out', `${name}.crt`);
}

function leaf(name) {
  const pem = (suffix) => readFileSync(join(folder, `${name}.${suffix}`));
  return { ca: cluster.tls.ca, cert: pem('crt'), key: pem('key') };
}

/** A request with that certificate: what came back, or why nothing did. */
async function knock(tls, options = {}) {
  try {
    const url = cluster.url(options.path ?? '/safe/a');
    return await send(url, { method: 'GET', ...options, tls: { ...tls, agent: false } });
  } catch (error) {
    return { status: 0, error: `${error.code} ${error.message}` };
  }
}

async function checkRefused(tls) {
  const before = await cluster.metric('gateway-1', COUNTED);
  for (const options of [{}, { method: 'PUT', body: { n: 666 } }, { path: '/' }, { path: '/system.nodes' }]) {
    const answer = await knock(tls, options);
    if (answer.status === 0) {
      assert.match(answer.error, /ALERT|EPROTO|ECONNRESET|EPIPE|SSL|socket hang up/, 'refused by TLS');
    } else {
      assert.equal(answer.status, 403, answer.text);
      assert.equal(answer.json.code, 'certificate_required');
    }
  }
  await until('it is counted', 5000, async () => (await cluster.metric('gateway-1', COUNTED)) >= before + 4);
  assert.deepEqual((await cluster.get('/safe/a')).json, { id: 'a', n: 1 }, 'nothing was written');
}

describe('clients', () => {
  before(async () => {
    cluster = await startCluster('security', { gateways: 1 });
    await cluster.insist('PUT', '/safe/a', { body: { n: 1 } });
    folder = join(cluster.dir, 'forged');
    mkdirSync(folder);
    for (const suffix of ['crt', 'key'])
      writeFileSync(join(folder, `real.${suffix}`), readFileSync(join(cluster.dir, `keys/ca.${suffix}`)), { mode: 0o600 });
    await makeAuthority('other', '/O=Other/CN=Other CA');
    await makeAuthority('namesake', '/O=Parley/CN=Parley cluster CA');
    const [year, now] = [new Date().getUTCFullYear(), ['20200101000000Z', '20991231000000Z']];
    await makeLeaf('good', 'real', 'clientAuth', now);
    await makeLeaf('foreign', 'other', 'clientAuth', now);
    await makeLeaf('pretender', 'namesake', 'clientAuth', now);
    await makeLeaf('server', 'real', 'serverAuth', now);
    await makeLeaf('expired', 'real', 'clientAuth', ['20200101000000Z', `${year - 1}0101000000Z`]);
    await makeLeaf('early', 'real', 'clientAuth', [`${year + 2}0101000000Z`, `${year + 3}0101000000Z`]);
  });
  after(() => cluster?.down());

  test('with a certificate as it should be they are served', async () => {
    const answer = await knock(leaf('good'));
    assert.equal(answer.status, 200, answer.error ?? answer.text);
  });

  test('without a certificate: refused, counted', () => checkRefused({ ca: cluster.tls.ca }));

  for (const [name, what] of [
    ['foreign', 'of another authority'], ['pretender', 'of an authority of the same name'],
    ['server', 'made for servers'], ['expired', 'that has expired'], ['early', 'that is not valid yet'],
  ]) test(`with a certificate ${what}: refused, counted`, () => checkRefused(leaf(name)));

  test('a certificate without its key is of no use', async () => {
    const before = await cluster.metric('gateway-1', COUNTED);
    const answer = await knock({ ...leaf('good'), key: readFileSync(join(folder, 'foreign.key')) });
    assert.equal(answer.status, 0, 'it can not even be offered');
    assert.equal(await cluster.metric('gateway-1', COUNTED), before);
  });

  test('a TLS session is not resumed past the check', async () => {
    let session;
    const offer = (options) => new Promise((done, fail) => {
      const socket = connect({ port: cluster.base, host: 'localhost', ca: cluster.tls.ca, ...options });
      let text = '';
      socket.on('session', (ticket) => { session = ticket; });
      socket.on('secureConnect', () => socket.write('GET /safe/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'));
      socket.on('data', (part) => { text += part; });
      socket.on('close', () => done(text));
      socket.on('error', (error) => (text ? done(text) : fail(error)));
    });
    assert.match(await offer(leaf('good')), /^HTTP\/1.1 200 /);
    assert.ok(session, 'tickets are on');
    assert.match(await offer({ ...leaf('good'), session }), /^HTTP\/1.1 200 /, 'resumed');
    session = undefined;
    assert.match(await offer({}), /^HTTP\/1.1 403 /);
    if (session) assert.match(await offer({ session }), /^HTTP\/1.1 403 /, 'a ticket of nobody is nobody\'s');
  });

  test('old TLS gets nowhere', async () => {
    const old = { ...cluster.tls, maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' };
    const answer = await knock(old);
    assert.match(answer.error, /ALERT_PROTOCOL_VERSION|ECONNRESET/, 'the server ends it');
  });

  test('plain text gets nowhere', async () => {
    const text = await new Promise((done) => {
      const socket = plainConnect(cluster.base, '127.0.0.1', () => socket.write('GET /safe/a HTTP/1.1\r\nHost: a\r\n\r\n'));
      let got = '';
      socket.on('data', (part) => { got += part.toString('latin1'); });
      socket.on('error', () => {});
      socket.on('close', () => done(got));
    });
    assert.doesNotMatch(text, /HTTP/);
  });

  test('health needs no certificate; metrics are there for this machine', async () => {
    for (const name of MEMBERS) {
      for (const [path, text] of [['/livez', 'ok'], ['/readyz', 'ok'], ['/readyz?verbose', 'ok']]) {
        const answer = await cluster.health(name, path);
        assert.equal(answer.status, 200, `${name} ${path}: ${answer.text}`);
        assert.match(answer.text, new RegExp(text));
      }
      assert.match((await cluster.health(name, '/metrics')).text, /^parley_build_info\{.*\} 1$/m);
      assert.equal((await cluster.health(name, '/safe/a')).status, 404, 'no data there');
    }
  });

  test('secrets on disk are their owner\'s alone', () => {
    for (const file of ['ca.key', 'server.key', 'admin.key', ...MEMBERS.map((name) => `${name}.key`)])
      assert.equal(statSync(join(cluster.dir, 'keys', file)).mode & 0o777, 0o600, file);
  });

  test('a key that others can read is refused at the start', async () => {
    const key = join(cluster.dir, 'keys/arbiter-1.key');
    await must('chmod', ['0644', key]);
    await assert.rejects(cluster.dev('--wait', 10, 'restart', 'arbiter-1'), /arbiter-1 .*not ready/);
    assert.match(cluster.log('arbiter-1'), /start_failed .*arbiter-1\.key/);
    await must('chmod', ['0600', key]);
    await cluster.dev('restart', 'arbiter-1');
  });

  test('nor may others read the key that replication shows', async () => {
    const key = join(cluster.dir, 'keys/viewer.key');
    const conf = join(cluster.dir, 'conf/gateway-1.yaml');
    const before = readFileSync(conf, 'utf8');
    await must('chmod', ['0644', key]);
    writeFileSync(conf, `${before}\nreplicate_key: "${key}"\n`);
    await assert.rejects(cluster.dev('--wait', 10, 'restart', 'gateway-1'), /gateway-1 .*not ready/);
    assert.match(cluster.log('gateway-1'), /start_failed .*viewer\.key/);
    await must('chmod', ['0600', key]);
    await cluster.dev('restart', 'gateway-1');
    writeFileSync(conf, before);
  });
});
