// What exported modules share: random bits, arithmetic that JavaScript lacks, and unpacking of constants.

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];
const PARITY = 0x1bd11bda;
const words = new Uint32Array(2);

// Threefry-2x32 with 20 rounds (J. K. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): two words of
// random bits, in `words`, of a key and a counter of two words each.
function threefry(key0, key1, count0, count1) {
  const keys = [key0, key1, key0 ^ key1 ^ PARITY];
  let x = (count0 + key0) | 0;
  let y = (count1 + key1) | 0;
  for (let group = 0; group < 5; group++) {
    const first = (group & 1) * 4;
    for (let round = first; round < first + 4; round++) {
      const rotation = ROTATIONS[round];
      x = (x + y) | 0;
      y = ((y << rotation) | (y >>> (32 - rotation))) ^ x;
    }
    x = (x + keys[(group + 1) % 3]) | 0;
    y = (y + keys[(group + 2) % 3] + group + 1) | 0;
  }
  words[0] = x;
  words[1] = y;
}

// jax.random.key(seed), as its two words; seeds have 32 bits.
export const key = (seed) => Uint32Array.of(0, seed);

// jax.random.fold_in(key, number).
export function foldIn(key0, key1, number, out = new Uint32Array(2)) {
  threefry(key0, key1, 0, number);
  out.set(words);
  return out;
}

// jax.random.split(key, out.length / 2), one key after the other.
export function split(key0, key1, out = new Uint32Array(4)) {
  for (let i = 0; i < out.length; i += 2) {
    threefry(key0, key1, 0, i >> 1);
    out.set(words, i);
  }
  return out;
}

// jax.random.bits(key, out.length): as many bits of each word as `out` has room for.
export function randomBits(key0, key1, out) {
  for (let i = 0; i < out.length; i++) {
    threefry(key0, key1, 0, i);
    out[i] = words[0] ^ words[1];
  }
  return out;
}

// Copies rows of elements from one typed array to another.
export function paste(target, start, step, source, from, stride, rows, length) {
  for (let row = 0; row < rows; row++) {
    const to = start + row * step;
    const at = from + row * stride;
    for (let i = 0; i < length; i++) target[to + i] = source[at + i];
  }
}

// Integers: division as XLA has it, also by zero.
export const divide = (x, y) => (y === 0 ? -1 : x / y);
export const remainder = (x, y) => (y === 0 ? x : x % y);

// The integer of a number, between bounds; that of NaN is 0.
export const whole = (x, low = -2147483648, high = 4294967295) =>
  x !== x ? 0 : Math.trunc(Math.min(Math.max(x, low), high)) + 0;

// How many bits are set.
export function count(x) {
  let found = 0;
  for (; x !== 0; x &= x - 1) found++;
  return found;
}

export const product = (x, y) => Math.fround(x * y);

// x to a whole power, by squares.
export function power(x, exponent, multiply) {
  let result = 1;
  let square = x;
  for (let left = Math.abs(exponent); left > 0; left >>= 1) {
    if (left & 1) result = multiply(result, square);
    if (left > 1) square = multiply(square, square);
  }
  return exponent < 0 ? 1 / result : result;
}

export function roundEven(x) {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest < 0.5 || (rest === 0.5 && down % 2 === 0)) return down;
  return rest !== rest ? x : down + 1;
}

export const roundAway = (x) => (x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5));

// Less, equal or greater: -1, 0, 1; NaN comes last.
export const order = (x, y) => (x < y ? -1 : x > y ? 1 : (x !== x) - (y !== y));

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
export function toBits(x) {
  float[0] = x;
  return bits[0];
}
export function toFloat(x) {
  bits[0] = x;
  return float[0];
}

// The inverse of the error function, in float32 (M. Giles, "Approximating the erfinv function", 2010).
const CENTRAL = [2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941];
const TAIL = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682];
export function erfInv(x) {
  const { fround } = Math;
  if (Math.abs(x) === 1) return x * Infinity;
  const w = fround(-Math.log1p(-fround(x * x)));
  const isCentral = w < 5;
  const step = fround(isCentral ? w - 2.5 : fround(Math.sqrt(w)) - 3);
  const [first, ...others] = isCentral ? CENTRAL : TAIL;
  return fround(others.reduce((sum, term) => fround(fround(term) + fround(sum * step)), fround(first)) * x);
}

// Constants: typed arrays that were put one after the other, compressed, and written in base 64.
export async function unpack(kinds, text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const whole = await new Response(stream).arrayBuffer();
  let start = 0;
  return kinds.map(([Kind, length]) => {
    const end = start + length * Kind.BYTES_PER_ELEMENT;
    const array = new Kind(whole.slice(start, end));
    start = end;
    return array;
  });
}
