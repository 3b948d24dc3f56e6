// SHA-256 (FIPS 180-4), for texts that begin alike: what they share is hashed once.

const PRIMES = primes(64);
const ROUNDS = new Uint32Array(PRIMES.map((prime) => fraction(Math.cbrt(prime))));
const START = new Uint32Array(PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))));

function primes(count: number): number[] {
  const found: number[] = [];
  for (let number = 2; found.length < count; number += 1) {
    if (found.every((prime) => number % prime !== 0)) {
      found.push(number);
    }
  }
  return found;
}

/** The first 32 bits behind the point. */
function fraction(number: number): number {
  return Math.floor((number - Math.floor(number)) * 2 ** 32);
}

const rotated = (word: number, by: number) => (word >>> by) | (word << (32 - by));
const schedule = new Uint32Array(64);

function compress(state: Uint32Array, bytes: Uint8Array, offset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, 64);
  for (let index = 0; index < 16; index += 1) {
    schedule[index] = view.getUint32(index * 4);
  }
  for (let index = 16; index < 64; index += 1) {
    const early = schedule[index - 15] as number;
    const late = schedule[index - 2] as number;
    const first = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
    const second = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
    schedule[index] =
      (schedule[index - 16] as number) + first + (schedule[index - 7] as number) + second;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let index = 0; index < 64; index += 1) {
    const mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
    const chosen = (e & f) ^ (~e & g);
    const one = (h + mixed + chosen + (ROUNDS[index] as number) + (schedule[index] as number)) | 0;
    const other = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + other) | 0;
  }
  for (const [index, word] of [a, b, c, d, e, f, g, h].entries()) {
    state[index] = (state[index] as number) + word;
  }
}

/** Hashes texts that begin with `prefix` (both ASCII); gives the eight words of the hash. */
export function hasherAfter(prefix: string): (rest: string) => Uint32Array {
  const encoder = new TextEncoder();
  const begin = encoder.encode(prefix);
  const whole = begin.length - (begin.length % 64);
  const shared = START.slice();
  for (let offset = 0; offset < whole; offset += 64) {
    compress(shared, begin, offset);
  }
  const left = begin.subarray(whole);
  return (rest) => {
    const end = encoder.encode(rest);
    const length = left.length + end.length;
    const padded = new Uint8Array(Math.ceil((length + 9) / 64) * 64);
    padded.set(left);
    padded.set(end, left.length);
    padded[length] = 0x80;
    new DataView(padded.buffer).setUint32(padded.length - 4, (whole + length) * 8);
    const state = shared.slice();
    for (let offset = 0; offset < padded.length; offset += 64) {
      compress(state, padded, offset);
    }
    return state;
  };
}

/** How many zero bits it begins with. */
export function zeroBits(hash: Uint32Array): number {
  let bits = 0;
  for (const word of hash) {
    bits += Math.clz32(word);
    if (word !== 0) {
      break;
    }
  }
  return bits;
}
