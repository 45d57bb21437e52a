// What the processes of a cluster have taken.
import { createCipheriv } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';

export const MEMBERS = ['coordinator-1', 'storage-1', 'storage-2', 'storage-3', 'gateway-1', 'arbiter-1'];

export function cpuMs(c, names = MEMBERS) {
  let total = 0;
  for (const pid of names.map((name) => c.pid(name))) {
    for (const task of readdirSync(`/proc/${pid}/task`))
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  }
  return total;
}

/** At most so far. */
export function residentMib(c, name) {
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${c.pid(name)}/status`, 'utf8'))[1]) / 1024);
}

export const COUCH_PORT_OFFSET = -1459;

/** A MiB that no other number has, and that does not compress. */
export function pattern(number) {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16, number & 255)).update(Buffer.alloc(1024 * 1024, number >> 8));
}
