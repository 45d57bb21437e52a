// What clients were told, against what is there in the end. Pure: records in, a list of violations out.
//
// In a consistent collection the generation of a document's revision orders its writes, so a history can be checked
// exactly and fast: each generation has one revision, made by one write, and time agrees with that order.

/** A record: { doc, kind: 'get'|'put'|'delete', start, end, status, revision, expected, value }; times in ms, end is
 *  Infinity and status 0 without an answer. Of a get, value is what was read; of a put, what was written. */
export function generation(revision) {
  return revision ? Number(/^"?(\d+)-/.exec(revision)?.[1] ?? NaN) : NaN;
}

const succeeded = (op) => op.status === 200 || op.status === 201;
const refused = (op) => [400, 404, 409, 412, 422, 423, 429].includes(op.status);

/** One document of a consistent collection. */
function checkRegister(doc, ops, violations) {
  const say = (text) => violations.push(`${doc}: ${text}`);
  const revisions = new Map(); // generation -> { revision, value }
  const writer = new Map(); // value -> put
  for (const op of ops) if (op.kind === 'put') writer.set(op.value, op);

  for (const op of ops) {
    if (!succeeded(op)) continue;
    const g = generation(op.revision);
    if (!Number.isFinite(g)) {
      say(`${op.kind} answered without a revision`);
      continue;
    }
    op.generation = g;
    const known = revisions.get(g);
    const value = op.kind === 'delete' ? undefined : op.value;
    if (!known) revisions.set(g, { revision: op.revision, value });
    else if (known.revision !== op.revision) say(`generation ${g} is both ${known.revision} and ${op.revision}`);
    else if (known.value !== value) say(`${op.revision} is both ${known.value} and ${value}`);
    if (op.kind !== 'get' && op.expected && g !== generation(op.expected) + 1)
      say(`a write on ${op.expected} became ${op.revision}`);
    if (op.kind === 'get') {
      const source = writer.get(op.value);
      if (!source) say(`read ${op.value}, which nobody wrote`);
      else if (refused(source)) say(`read ${op.value}, whose write was refused with ${source.status}`);
      else if (source.start > op.end) say(`read ${op.value} before it was written`);
    }
  }
  checkOrder(doc, ops.filter((op) => op.generation !== undefined), say);
}

/** What began after something had ended sees at least its generation; a later write a greater one. */
function checkOrder(doc, ops, say) {
  const byEnd = [...ops].sort((a, b) => a.end - b.end);
  const byStart = [...ops].sort((a, b) => a.start - b.start);
  let seen = 0;
  let last;
  let next = 0;
  for (const op of byStart) {
    while (next < byEnd.length && byEnd[next].end < op.start) {
      if (byEnd[next].generation > seen) {
        seen = byEnd[next].generation;
        last = byEnd[next];
      }
      next++;
    }
    if (op.generation < seen || (op.kind !== 'get' && op.generation === seen && op !== last))
      say(`${op.kind} at ${op.start} gave ${op.revision} after a ${last.kind} that ended at ${last.end} gave ${last.revision}`);
  }
}

export function checkRegisters(ops) {
  const violations = [];
  const byDocument = Map.groupBy ? Map.groupBy(ops, (op) => op.doc) : groupBy(ops);
  for (const [doc, some] of byDocument) checkRegister(doc, some, violations);
  return violations;
}

function groupBy(ops) {
  const groups = new Map();
  for (const op of ops) {
    if (!groups.has(op.doc)) groups.set(op.doc, []);
    groups.get(op.doc).push(op);
  }
  return groups;
}

/** Every acknowledged insertion is there with its value; nothing else is, unless its outcome is unknown.
 *  tried: id -> { acked, value }; found: id -> value. */
export function checkSet(tried, found) {
  const lost = [];
  const violations = [];
  for (const [id, { acked, value }] of tried) {
    if (acked && !found.has(id)) lost.push(id);
    else if (found.has(id) && found.get(id) !== value) violations.push(`${id} holds ${found.get(id)}, not ${value}`);
  }
  for (const id of found.keys()) if (!tried.has(id)) violations.push(`${id} is there and nobody wrote it`);
  return { lost, violations };
}

/** Deleted for good: none of these may be found. */
export function checkDeleted(deleted, found) {
  return [...deleted].filter((id) => found.has(id));
}

/** counters: name -> { acked, unknown }; found: name -> number. */
export function checkCounters(counters, found) {
  const violations = [];
  for (const [name, { acked, unknown }] of counters) {
    const n = found.get(name) ?? 0;
    if (n < acked || n > acked + unknown) violations.push(`${name} is ${n}, not from ${acked} to ${acked + unknown}`);
  }
  return violations;
}

/** A 202 promises one disk: a tag that it was said of may go with one that was taken away before the lead had it.
 * tags: document -> Map of acknowledged tags -> { status, at }; found: document -> array; disksLost: of each disk that was
 * taken away, { from, to }: what was said after `from` may have been there only until `to`; ms, as `at`. */
export function checkTags(tags, found, disksLost = []) {
  const lost = [];
  for (const [doc, acked] of tags) {
    const there = new Set(found.get(doc) ?? []);
    for (const [tag, { status, at }] of acked) {
      const excused = status === 202 && disksLost.some(({ from, to }) => at >= from && at <= to);
      if (!there.has(tag) && !excused) lost.push(`${doc} lacks ${tag}, answered ${status} at ${Math.round(at)} ms`);
    }
  }
  return lost;
}

/** Documents whose only writer waits for each answer. probed: document -> { acked, unknown: Set }; found: document -> number. */
export function checkProbes(probed, found) {
  const lost = [];
  for (const [doc, { acked, unknown }] of probed) {
    const n = found.get(doc) ?? 0;
    if (n < acked && !unknown.has(n)) lost.push(`${doc} is ${n}, after ${acked}`);
  }
  return lost;
}

/** Documents that nobody wrote any more since they were read. ended: document -> { status, revision, maybe }, where a
 *  write that was never answered may have come since; found: document -> { status, etag }. */
export function checkEnded(ended, found) {
  const violations = [];
  for (const [doc, { status, revision, maybe }] of ended) {
    const now = found.get(doc);
    const newer = now.etag === undefined || revision === undefined || generation(now.etag) > generation(revision);
    if ((now.status !== status || now.etag !== revision) && !(maybe && newer))
      violations.push(`${doc} was ${status} ${revision}, and is ${now.status} ${now.etag}`);
  }
  return violations;
}

const byGeneration = (a, b) => generation(a.revision) - generation(b.revision);

/** Locks of documents of a consistent collection. grants: { token, asked, granted, ttlMs } in ms; writes: { doc, grant, read,
 *  end, status, revision }, where grant is undefined without a lock, and read is the generation that was read under it. */
export function checkLocks({ grants, writes }) {
  const violations = checkTokens(grants);
  for (const { doc, grant, status, end } of writes)
    if (grant && status === 412 && end < grant.asked + grant.ttlMs)
      violations.push(`${doc}: token ${grant.token} was to live for ${grant.ttlMs} ms, and was lost after ${Math.round(end - grant.asked)}`);
  for (const [doc, some] of groupBy(writes.filter(succeeded))) checkHolds(some.sort(byGeneration), (text) => violations.push(`${doc}: ${text}`));
  return violations;
}

/** Each grant has its own token; one asked for after another was answered has a greater one. */
function checkTokens(grants) {
  const violations = [];
  const tokens = new Set();
  const answered = [...grants].sort((a, b) => a.granted - b.granted);
  let next = 0;
  let greatest = 0;
  for (const { token, asked } of [...grants].sort((a, b) => a.asked - b.asked)) {
    while (next < answered.length && answered[next].granted < asked) greatest = Math.max(greatest, answered[next++].token);
    if (tokens.has(token)) violations.push(`token ${token} was given twice`);
    else if (!(token > greatest)) violations.push(`token ${token} was given after ${greatest}`);
    tokens.add(token);
  }
  return violations;
}

/** Acknowledged writes of one document, in the order of their generations. */
function checkHolds(writes, say) {
  const ended = new Set();
  let greatest = 0;
  let last;
  for (const { grant, read, revision } of writes) {
    if (last && revision !== last.revision && generation(revision) === generation(last.revision))
      say(`one generation is both ${last.revision} and ${revision}`);
    if (last?.grant && last.grant !== grant) ended.add(last.grant);
    if (grant && ended.has(grant)) say(`somebody else wrote ${last.revision} within the hold of token ${grant.token}`);
    if (grant && grant.token < greatest) say(`token ${grant.token} wrote ${revision} after token ${greatest} had written`);
    if (grant && read !== undefined && generation(revision) !== read + 1) say(`generation ${read} was read under a lock, ${revision} was written`);
    greatest = Math.max(greatest, grant?.token ?? 0);
    last = { grant, revision };
  }
}

/** Acknowledged writes that a follower has not been told of. each: of every one, else of that or a later one of the document.
 *  since: when it began to listen, in ms; heard: document -> revisions in the order of its events. */
export function unheard(writes, { heard, since, each }) {
  const told = new Map();
  for (const [doc, revisions] of heard) told.set(doc, { all: new Set(revisions), last: Math.max(...revisions.map(generation)) });
  return writes.filter(({ doc, start, status, revision }) => (status === 200 || status === 201) && start > since
    && !(each ? told.get(doc)?.all.has(revision) : told.get(doc)?.last >= generation(revision)));
}

/** What a follower was told, against all writes of these documents: { doc, start, status, revision }; revisions without quotes. */
export function checkFeed(writes, follower) {
  const { name, heard, each } = follower;
  const violations = unheard(writes, follower).map(({ doc, revision }) => `${name} was not told of ${revision} of ${doc}`);
  const written = groupBy(writes);
  for (const [doc, revisions] of heard) {
    const some = written.get(doc) ?? [];
    const acked = new Set(some.filter(succeeded).map((op) => op.revision));
    const unknown = some.filter((op) => !succeeded(op) && !refused(op)).length;
    const strange = new Set(revisions.filter((revision) => !acked.has(revision)));
    if (strange.size > unknown) violations.push(`${name} was told of ${[...strange]} of ${doc}; at most ${unknown} of these were written`);
    for (let i = 1; i < revisions.length; i++) {
      const step = generation(revisions[i]) - generation(revisions[i - 1]);
      if (each ? step !== 1 : step < 0) violations.push(`${name} was told of ${revisions[i]} of ${doc} after ${revisions[i - 1]}`);
    }
  }
  return violations;
}

/** What an index gives, between two lists without it; each id -> number, another one with each write. Of a document that
 *  may change meanwhile at most once. */
export function checkIndex(before, found, after) {
  const violations = [];
  for (const id of new Set([...before.keys(), ...found.keys(), ...after.keys()]))
    if (before.get(id) === after.get(id) && found.get(id) !== before.get(id))
      violations.push(`the index gives ${found.get(id)} of ${id}, which is ${before.get(id)}`);
  return violations;
}

/** When all have been reachable for long enough. rows: of /_/conflicts; listed: ids of documents that show other versions. */
export function checkCleaned(rows, listed) {
  return [
    ...rows.map(({ collection, id, state, cleanup }) => `${collection}/${id} stays ${state} ${JSON.stringify(cleanup ?? {})}`),
    ...listed.map((id) => `${id} still shows other versions`),
  ];
}

/** A checker that had nothing to check has not passed. counts: what -> how many. */
export function checkReached(counts) {
  return Object.entries(counts).filter(([, count]) => count === 0).map(([what]) => `there was no ${what}`);
}
