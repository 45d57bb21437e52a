// Figures of a large attachment: attachments.mjs MIB
//   so many MiB, written and read again by themselves, and as a part behind their document: seconds, MiB a second, the most
//   memory that each process had meanwhile. One line each; fails past the limit below.
import { createHash } from 'node:crypto';
import { loadavg } from 'node:os';
import { request } from 'node:https';
import { startCluster } from '../e2e/lib.mjs';
import { COUCH_PORT_OFFSET, MEMBERS, pattern, residentMib } from './members.mjs';

const GROWN_MIB = { 'gateway-1': 64, 'storage-1': 400, 'storage-2': 400, 'storage-3': 400 };
const MIB = 1024 * 1024;
const mib = Number(process.argv[2]);
const cluster = await startCluster('attachments-bench', { gateways: 1 });
const urlOf = (path) => new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`);

/** Sends what `parts` gives, as fast as it is taken. */
function send(path, headers, parts) {
  return new Promise((done, fail) => {
    const out = request(urlOf(path), { ...cluster.tls, method: 'PUT', headers }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => (answer.statusCode === 201 ? done(JSON.parse(text)) : fail(new Error(`${answer.statusCode} ${text}`))));
    });
    out.on('error', fail);
    (async () => {
      for (const part of parts) if (!out.write(part)) await new Promise((drained) => out.once('drain', drained));
      out.end();
    })();
  });
}

/** MD5 and length of what comes. */
function receive(path, headers = {}) {
  return new Promise((done, fail) => {
    request(urlOf(path), { ...cluster.tls, headers }, (answer) => {
      const md5 = createHash('md5');
      let length = 0;
      answer.on('data', (part) => {
        md5.update(part);
        length += part.length;
      });
      answer.on('end', () => done({ md5: md5.digest('base64'), length }));
      answer.on('error', fail);
    }).on('error', fail).end();
  });
}

async function timed(what, work) {
  const from = performance.now();
  const result = await work();
  const seconds = (performance.now() - from) / 1000;
  console.log(`attachment ${what} mib=${mib} seconds=${seconds.toFixed(1)} mib_per_second=${Math.round(mib / seconds)} load=${loadavg()[0].toFixed(1)}`);
  return result;
}

function* pieces(md5) {
  for (let i = 0; i < mib; i++) {
    const piece = pattern(i);
    md5.update(piece);
    yield piece;
  }
}

function* related(name) {
  const entry = { [name]: { follows: true, content_type: 'a/b', length: mib * MIB } };
  yield `--parts\r\nContent-Type: application/json\r\n\r\n${JSON.stringify({ _attachments: entry })}\r\n--parts\r\n\r\n`;
  yield* pieces(createHash('md5'));
  yield '\r\n--parts--';
}

let failed = false;
try {
  const before = Object.fromEntries(MEMBERS.map((name) => [name, residentMib(cluster, name)]));
  const md5 = createHash('md5');
  const expect = (await send('/large?q=1', {}, [])).ok;
  await timed('put', () => send('/large/d/a', { 'content-type': 'a/b', 'content-length': mib * MIB }, pieces(md5)));
  const digest = md5.digest('base64');
  const got = await timed('get', () => receive('/large/d/a'));
  await timed('put-related', () => send('/large/e', { 'content-type': 'multipart/related; boundary="parts"' }, related('a')));
  const whole = await timed('get-related', () => receive('/large/e?attachments=true', { accept: 'multipart/related' }));
  failed = !expect || got.md5 !== digest || got.length !== mib * MIB || whole.length < mib * MIB;
  for (const name of MEMBERS) {
    const peak = residentMib(cluster, name);
    const grown = peak - before[name];
    console.log(`attachment memory process=${name} peak_mib=${peak} grown_mib=${grown}`);
    failed ||= grown > (GROWN_MIB[name] ?? 16);
  }
} finally {
  await cluster.down();
}
process.exit(failed ? 1 : 0);
