// A reader of embcompress artifacts without dependencies, by docs/artifact.md: this one file, made to be copied.
//   const artifact = await openArtifact(source);          // Uint8Array, or async (begin, end) => Uint8Array of a range
//   artifact.tables; await artifact.rows(table, [3, 5]);  // {shape, data}; without ids all rows; complex ones as pairs
const POLYNOMIALS = { 4: [0o5, 0o2], 8: [0o13, 0o4], 32: [0o45, 0o10], 256: [0o515, 0o362] };
const range = (length, make) => Array.from({ length }, (_, n) => make(n));
const CRC = range(256, (byte) => range(8, () => (byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1))[7]);
const halfToFloat = (n) => // a sign, five bits of the exponent, ten of the mantissa
  (n >> 15 ? -1 : 1) * (n >> 10 & 31 ? 2 ** ((n >> 10 & 31) - 25) * (1024 + (n & 1023)) : (n & 1023) * 2 ** -24);
const NUMBERS = {
  F64: (b) => new Float64Array(b), F32: (b) => new Float32Array(b), C64: (b) => new Float32Array(b),
  F16: (b) => Float32Array.from(new Uint16Array(b), halfToFloat), U8: (b) => new Uint8Array(b),
  BF16: (b) => new Float32Array(Uint32Array.from(new Uint16Array(b), (n) => n << 16).buffer),
  I32: (b) => new Int32Array(b), I64: (b) => Float64Array.from(new BigInt64Array(b), Number),
};
const parity = (n) => (n ? parity(n & (n - 1)) ^ 1 : 0);
const runningSums = (values) => { let total = 0; return values.map((value) => (total += value)); };

async function unpackSymbols() { // by entry what reading it does, and by slot of the 188 tables the entry
  const packed = Uint8Array.from(atob(SYMBOL_TABLES), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const size = (buffer.byteLength - 376) / 28, levels = new Float32Array(buffer, 376 + 24 * size);
  const list = (n) => new Int32Array(buffer, 376 + 4 * n * size, size);
  const [spans, factors, shifts, symbols, sides] = range(5, list);
  const entries = new Uint16Array(188 * 4096), before = new Int16Array(188 * 4096);
  const backward = range(4096, (n) => range(12, (bit) => (n >> bit & 1) << 11 - bit).reduce((all, bit) => all | bit));
  for (let entry = 0, slot = 0; entry < size; entry++) for (let n = 0; n < spans[entry]; n++, slot++) {
    if (slot < 94 * 4096) [entries[slot], before[slot]] = [entry, n];
    else entries[(slot & ~4095) + backward[slot & 4095]] = entry; // of a prefix code the first bit is the lowest one
  }
  const [costs, losses] = [new Int32Array(buffer, 0, 47), new Int32Array(buffer, 188, 47)];
  return { costs, losses, factors, shifts, symbols, sides, levels, entries, before };
}

function makeLayout(symbols, classes) { // of a string: columns in its order, their tables, raw bits; expected bytes
  const columns = [...classes.keys()].filter((k) => classes[k] >= -6).sort((a, b) => classes[a] - classes[b] || a - b);
  const high = columns.map((k) => Math.min(classes[k], 160) - 32), raw = high.map((n) => Math.max(0, Math.ceil(n / 8)));
  const tables = high.map((n) => (n > 0 ? 39 + (n - 1) % 8 : n + 38));
  const bits = tables.map((table, k) => symbols.costs[table] + 256 * raw[k]);
  const bytes = Math.floor(bits.reduce((total, own, k) => total + own - symbols.losses[tables[k]], 0) / 2048);
  let [prefixed, least, taken, lost] = [0, 2816, 0, 0];
  for (let n = 1; n <= Math.min(24, columns.length) && taken < 2816; n++) {
    [taken, lost] = [taken + bits.at(-n), lost + symbols.losses[tables.at(-n)]];
    const loss = lost + Math.max(0, 2816 - taken);
    if (loss < least) [prefixed, least] = [n, loss];
  }
  const firsts = tables.map((table, k) => 2 * table + (k >= columns.length - prefixed ? 94 : 0));
  return { columns: Int32Array.from(columns), tables: Int32Array.from(firsts), raw: Int32Array.from(raw), bytes };
}

function makeDecoder(symbols, states) { // a function that decodes a string, codes[begin..stop), into numbers by column
  const { factors, shifts, symbols: symbolOf, sides, levels, entries, before } = symbols;
  const [low, high] = POLYNOMIALS[states].map((h) => h >> 1), sets = range(states, (s) => parity(s & high));
  const after = range(2 * states, (n) => ((n & ~1) | ((n & 1) ^ parity((n >> 1) & low))) % states);
  let x = 0, at = 0, end = 0, codes = null;
  const fill = () => {
    if (x < 65536 && at < end) { x = x * 65536 + codes[at] + 256 * codes[at + 1]; at += 2; }
  };
  const pull = (bits) => {
    let value = 0;
    for (let some; bits > 0; bits -= some, x >>>= some, fill()) {
      some = (bits - 1) % 15 + 1;
      value = value * (1 << some) + (x & ((1 << some) - 1));
    }
    return value;
  };
  return (bytes, begin, stop, { columns, tables, raw }, numbers) => {
    [codes, x, at, end] = [bytes, 0, begin, stop];
    for (let n = Math.min(end - at, 4 - (end - at) % 2); n--;) x = x * 256 + codes[at++];
    for (let k = 0, state = 0; k < columns.length; k++) {
      const set = sets[state], slot = (tables[k] + set) * 4096 + (x & 4095), entry = entries[slot];
      let symbol = symbolOf[entry], beyond = 0, more = 0;
      x = factors[entry] * (x >>> shifts[entry]) + before[slot];
      fill();
      if (sides[entry]) {
        while (pull(1)) more++;
        symbol += sides[entry] * (beyond = 2 ** more + pull(more) - 1);
      }
      if (raw[k]) symbol = symbol * (1 << raw[k]) + pull(raw[k]);
      numbers[columns[k]] = beyond || raw[k] ? 2 * symbol + set : levels[entry];
      state = after[2 * state + (symbol & 1)];
    }
  };
}

function startBits(bytes, at, end) { // a function that reads a bit from its chance to be 1, in 1/2^15
  const next = () => (at < end ? bytes[at++] : 0);
  let size = 2 ** 32 - 1, code = 0;
  for (let n = 0; n < 4; n++) code = code * 256 + next();
  return (chance) => {
    const part = (size >>> 15) * chance, bit = code < part;
    if (bit) size = part; else { code -= part; size -= part; }
    for (; size < 2 ** 23; size *= 256) code = code * 256 + next();
    return +bit;
  };
}

function readInteger(width, readBit) { // readBit gets the bits before its own, behind a leading 1
  let prefix = 1;
  for (let bits = width; bits--;) prefix = 2 * prefix + readBit(prefix);
  return prefix - 2 ** width;
}

const unfold = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);

function makeLists(bytes, start) { // a function that reads the next list of integers, behind its size
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const read = (count, contexts = null, signed = true) => {
    const at = read.at + 5, end = (read.at += 4 + view.getUint32(read.at, true)), width = bytes[at - 1];
    const top = 2 ** Math.min(width, 12), chances = [], seen = [], bits = startBits(bytes, at, end);
    return range(count, (number) => {
      const value = readInteger(width, (prefix) => {
        if (prefix >= 4096) return bits(16384);
        const node = (contexts ? contexts[number] : 0) * top + prefix, chance = chances[node] ?? 16384;
        const bit = bits(chance), met = Math.min(65, (seen[node] ?? 1) + 1), towards = bit ? 32736 : 32;
        [seen[node], chances[node]] = [met, chance + Math.floor((towards - chance) / met)];
        return bit;
      });
      return signed ? unfold(value) : value;
    });
  };
  return Object.assign(read, { at: start });
}

function reflect(column, k, unit) { // by a unit vector behind k zeros
  let inner = 0;
  for (let n = 0; n < unit.length; n++) inner += unit[n] * column[k + n];
  for (let n = 0; n < unit.length; n++) column[k + n] -= 2 * inner * unit[n];
}

function decodeBases(symbols, strings, classes, sizes, rank, dim) { // (rank, dim), rounded to float32
  const decode = makeDecoder(symbols, 32), ends = runningSums(sizes), signs = new Array(rank).fill(1);
  const columns = range(rank, (k) => new Float64Array(dim).fill(1, k, k + 1));
  const norm = (values) => Math.sqrt(values.reduce((total, n) => total + n * n, 0));
  for (let k = classes.length; k--;) { // the product of all reflections, from the last on
    const layout = makeLayout(symbols, new Array(dim - k).fill(Math.max(classes[k], -6)));
    const mirror = new Float64Array(dim - k);
    decode(strings, ends[k] - sizes[k], ends[k], layout, mirror);
    if (norm(mirror) === 0) mirror[0] = 1;
    signs[k] = mirror[0] > 0 ? -1 : 1;
    mirror[0] -= signs[k] * norm(mirror);
    const size = norm(mirror), unit = mirror.map((n) => n / size);
    for (let j = k; j < rank; j++) reflect(columns[j], k, unit); // those in front are still zeros behind k
  }
  return Float64Array.from(columns.flatMap((column, k) => Array.from(column, (n) => Math.fround(n * signs[k]))));
}

// Both kinds of index: bytes of all codes; of a row the bytes to read, [begin, end); from these its kind and string.
function openIndex(index, count, kinds, lengthContexts) {
  const leastOf = (n) => kinds.slice(1).reduce((least, kind) => Math.min(least, kind[n]), kinds[1]?.[n] ?? 0);
  const lists = makeLists(index, 0), owners = lists(count, null, false);
  const used = [...owners.keys()].filter((row) => owners[row]);
  const profile = used.map((row) => owners[row] - 1), shift = lists(used.length, profile, false);
  const scale = lists(used.length, null, false), step = lists(used.length, null, false);
  const numbers = new Map(kinds.map((kind, n) => [n && [kind.profile, kind.shift, kind.scale, kind.step].join(), n]));
  const least = { shift: leastOf("shift"), scale: leastOf("scale") }, own = new Array(count).fill(0);
  used.forEach((row, n) => {
    own[row] = numbers.get([profile[n], shift[n] + least.shift, scale[n] + least.scale, step[n]].join());
  });
  const lengths = new Array(count).fill(0), more = lists(used.length, used.map((row) => lengthContexts[own[row]]));
  used.forEach((row, n) => { lengths[row] = kinds[own[row]].layout.bytes + more[n]; });
  const ends = runningSums(lengths), spanOf = (row) => [ends[row] - lengths[row], ends[row]];
  return { size: ends.at(-1), spanOf, find: (row) => [own[row], 0, lengths[row]] };
}

function openBlocks(index, count, kinds, lengthContexts) {
  const view = new DataView(index.buffer, index.byteOffset), [kindBits, lengthBits, item] = index;
  const lists = makeLists(index, 7), trees = kinds.reduce((most, kind) => Math.max(most, kind.step + 1), 1);
  const ofKinds = lists(trees * 2 ** Math.min(kindBits, 12), null, false);
  const ofLengths = lists(64 * 2 ** Math.min(lengthBits, 12), null, false);
  const more = (block) => (item ? view[`getUint${8 * item}`](lists.at + item * block, true) : 0);
  const sizes = range(Math.ceil(count / 16), (block) => view.getUint32(3, true) + more(block));
  const ends = runningSums(sizes);
  let last = -1, lastRows = [];
  const decode = (block, bytes) => { // kinds and lengths of its rows, and where their strings lie in it
    const bits = startBits(bytes, 0, bytes.length);
    const read = (width, chances, context) => readInteger(width, (prefix) => {
      const chance = prefix < 4096 ? chances[context * 2 ** Math.min(width, 12) + prefix] : 128;
      return chance % 255 ? bits(128 * chance) : chance / 255; // 0 and 255 are sure
    });
    let step = 0;
    const rows = range(Math.min(16, count - 16 * block), () => {
      const kind = read(kindBits, ofKinds, step);
      if (!kind) return [0, 0];
      step = kinds[kind]?.step;
      return [kind, kinds[kind]?.layout.bytes + unfold(read(lengthBits, ofLengths, lengthContexts[kind]))];
    });
    let begin = bytes.length - rows.reduce((total, [, length]) => total + length, 0); // strings end with the block
    if (begin >= 0 && rows.every(([, length]) => length >= 0)) {
      return rows.map(([kind, length]) => [kind, begin, (begin += length)]);
    }
    throw new Error("the artifact is damaged: the head of a block does not fit it.");
  };
  return {
    size: ends.at(-1),
    spanOf: (row) => [ends[row >>> 4] - sizes[row >>> 4], ends[row >>> 4]],
    find: (row, bytes) => {
      if (last !== row >>> 4) [last, lastRows] = [row >>> 4, decode(row >>> 4, bytes)];
      return lastRows[row & 15];
    },
  };
}

function openCoded(symbols, book, index, count, rank, dim, open) { // all of a coded table but its strings
  const view = new DataView(book.buffer, book.byteOffset), states = view.getUint16(0, true), flags = book[2];
  const [size, profiles, vectors] = [view.getUint32(4, true), view.getUint16(8, true), view.getUint32(10, true)];
  const steps = range(book[3] + (flags >> 1), (n) => view.getFloat32(14 + 4 * n, true));
  const list = makeLists(book, 14 + 4 * steps.length);
  const [profile, shift, scale, step] = [false, true, true, false].map((signed) => list(size, null, signed));
  const [vectorClasses, sizes] = flags & 1 ? [runningSums(list(vectors)), list(vectors, null, false)] : [];
  const first = runningSums(list(rank));
  const classes = [...first, ...list((profiles - 1) * rank).map((more, k) => first[k % rank] + more)];
  const contexts = classes.map((_, k) => Math.max(0, Math.min(63, first[k % rank] + 7)));
  const centers = new Float32Array(classes.length);
  if (flags & 2) centers.set(list(classes.length, contexts).map((n) => n * steps.at(-1)));
  const bases = flags & 1 ? decodeBases(symbols, book.subarray(list.at), vectorClasses, sizes, rank, dim) : null;

  const known = new Map(), kinds = range(size, (n) => { // the first is that of zeros: nothing reads its layout
    const key = `${profile[n]} ${shift[n]}`, own = () => classes.slice(profile[n] * rank, (profile[n] + 1) * rank);
    if (!known.has(key)) known.set(key, makeLayout(symbols, own().map((k) => k + shift[n])));
    return { profile: profile[n], shift: shift[n], scale: scale[n], step: step[n], layout: known.get(key) };
  });
  const lengthContexts = kinds.map(({ layout }) => {
    const expected = Math.max(1, layout.bytes), bits = 32 - Math.clz32(expected);
    return Math.min(63, 4 * bits + (expected >> Math.max(0, bits - 3) & 3));
  });
  const { find, ...places } = open(index, count, kinds, lengthContexts);
  const decode = makeDecoder(symbols, states), weights = new Float32Array(rank);
  const weigh = (row, bytes) => { // its weights, from the bytes of its span; of a row of zeros null
    const [number, begin, end] = find(row, bytes), kind = kinds[number], center = kind.profile * rank;
    if (!number) return null;
    const ownStep = Math.fround(steps[kind.step] * Math.fround(2 ** (kind.scale / 8)));
    weights.fill(0);
    decode(bytes, begin, end, kind.layout, weights);
    for (let k = 0; k < rank; k++) weights[k] = Math.fround(weights[k] * ownStep) + centers[center + k];
    return weights;
  };
  return { bases, weigh, ...places };
}

function multiply(weights, first, bases, target, at, dim) { // target[at..] = sum of weights[first + k] * row k of bases
  const total = new Float64Array(dim);
  let n = 0, k = first;
  for (; n + 4 * dim <= bases.length; n += 4 * dim, k += 4) { // four rows at once: half the time
    const [a, b, c, d] = [weights[k], weights[k + 1], weights[k + 2], weights[k + 3]];
    if (a || b || c || d) for (let j = 0, m = n; j < dim; j++, m++) {
      total[j] += a * bases[m] + b * bases[m + dim] + c * bases[m + 2 * dim] + d * bases[m + 3 * dim];
    }
  }
  for (; n < bases.length; n += dim, k++) for (let j = 0; j < dim; j++) total[j] += weights[k] * bases[n + j];
  target.set(total, at);
}

export async function openArtifact(source) {
  const known = new Map(), bytes = typeof source === "function" ? null : new Uint8Array(source);
  const read = async (begin, end) => {
    const part = bytes ? bytes.subarray(begin, end) : await source(begin, end);
    if (part.length === end - begin) return part;
    throw new Error(`the artifact ends before byte ${end}: it is cut short or damaged.`);
  };
  const start = 8 + Number(new DataView((await read(0, 8)).slice().buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(await read(8, start)));
  const document = JSON.parse(metadata?.embcompress ?? '{"schema_version": "none"}');
  const { tables, schema_version: version } = document;
  if (![1, 2].includes(version)) throw new Error(`the file has schema version ${version}; this reader reads 1 and 2.`);
  const size = Math.max(...Object.values(entries).map((entry) => entry.data_offsets[1]));
  await read(start + size - 1, start + size);
  const offsets = (name) => entries[name].data_offsets.map((offset) => start + offset);
  const whole = async (name) => { // the bytes of a tensor
    const part = await read(...offsets(name)), crc = part.reduce((n, byte) => CRC[(n ^ byte) & 255] ^ (n >>> 8), -1);
    if (((crc ^ -1) >>> 0).toString(16).padStart(8, "0") === document.crc32[name]) return part;
    throw new Error(`tensor ${name} does not have its crc32: the file was changed or damaged.`);
  };
  const toNumbers = (name, part) => NUMBERS[entries[name].dtype](part.slice().buffer);
  const tensor = async (name) => toNumbers(name, await whole(name));
  const tensorRows = async (name, ids) => { // a function from a place among the ids to the numbers of that row
    const [begin, end] = offsets(name), width = (end - begin) / entries[name].shape[0];
    const parts = ids && await Promise.all(ids.map((id) => read(begin + id * width, begin + (id + 1) * width)));
    const all = ids ? null : await tensor(name), size = ids ? 0 : all.length / entries[name].shape[0];
    return (n) => (ids ? toNumbers(name, parts[n]) : all.subarray(n * size, (n + 1) * size));
  };
  const labels = async (table) => {
    const [text, ends] = [await whole(`${table}.labels`), await tensor(`${table}.label_offsets`)];
    return Array.from(ends.slice(1), (end, n) => new TextDecoder().decode(text.subarray(ends[n], end)));
  };
  const rows = async (table, ids = null) => {
    const { shape: [count, ...shape], dtype, rank, coding, kind, matrix, levels } = tables[table];
    if (ids?.some((id) => !(id >= 0 && id < count))) throw new RangeError(`table ${table} has rows 0 to ${count - 1}.`);
    const form = levels ? "schema 1" : coding, n = ids ? ids.length : count;
    const pairs = dtype === "complex64" ? [2] : [], dim = [...shape, ...pairs].reduce((one, other) => one * other, 1);
    const data = new (dtype === "float64" ? Float64Array : Float32Array)(n * dim);
    if (kind === "bilinear") {
      const [left, right] = [await tensorRows(`${table}.left`, ids), await tensorRows(`${table}.right`, ids)];
      const [in1, in2] = matrix, size = in2 * rank;
      for (let row = 0; row < n; row++) for (let m = 0; m < dim / (in1 * in2); m++) {
        const own = right(row).subarray(m * size, (m + 1) * size), lefts = left(row);
        const turned = Float64Array.from(own, (_, k) => own[(k % in2) * rank + Math.floor(k / in2)]); // (rank, in2)
        for (let i = m * in1; i < (m + 1) * in1; i++) multiply(lefts, i * rank, turned, data, row * dim + i * in2, in2);
      }
    } else if (coding === "plain") {
      const [weights, bases] = [await tensorRows(`${table}.weights`, ids), await tensor(`${table}.bases`)];
      for (let row = 0; row < n; row++) multiply(weights(row), 0, bases, data, row * dim, dim);
    } else if (form === "coded" || form === "coded-seekable") {
      const parts = known.has(table) ? [] : [await whole(`${table}.codebook`), await whole(`${table}.index`)];
      const open = form === "coded" ? openIndex : openBlocks;
      if (parts.length) known.set(table, openCoded(await unpackSymbols(), ...parts, count, rank, dim, open));
      const { bases, size, spanOf, weigh } = known.get(table), [begin, end] = offsets(`${table}.codes`);
      if (size !== end - begin) throw new Error(`table ${table} is damaged: its strings do not fit its index.`);
      const codes = ids ? new Uint8Array() : await whole(`${table}.codes`);
      for (let place = 0; place < n; place++) {
        const row = ids ? ids[place] : place, [from, to] = spanOf(row);
        const weights = weigh(row, ids && to > from ? await read(begin + from, begin + to) : codes.subarray(from, to));
        if (!weights) continue;
        if (bases) multiply(weights, 0, bases, data, place * dim, dim); else data.set(weights, place * dim);
      }
    } else throw new Error(`table ${table} has codes of ${form}, which this reader does not read; embcompress does.`);
    return { shape: [n, ...shape, ...pairs], data };
  };
  return { tables, names: Object.keys(entries), tensor, labels, rows };
}

// The tables of symbols, as docs/artifact.md lays them out.
const SYMBOL_TABLES = "eNrtfQl4FEX6fu6EMygiKkJUPEGIiisiQne1F/4U8MJ1VwX9e+AFeOC1CkHUZXdFURSCqEQRYXF3xQMNqDj9tQceKN4IglFXwRt1FUTE/N9v5ito257JTDKTi5rnee3uqu+sqq6u6ry0dnZWlgMcCQwE/gicBVwG3ABMAeYCBKwAfgS2ycnK6gUMBM4GyoB7gWeAVUBWblbWroAFnAZcBUwFngCWARuAznlZWf2AU4GrgHJgAbAC2ASU5GdlHRqorwSWA79I/dNw9SgwG7gduA4YCfwJOAboD/QC9gF2A7oAOwOdgR2AdkAroLWAz9sCxUAbuS4E8gV83tInz+cFUlcg9S1Er1WgPj9Qnx1rpqyfimPHbMGvLFS05Zpjfa44downcwQwujh2jCfD+DvwRdvY0V/O/jdCflPhb2NhfAXs3jZ29JdzPhsKY3r5gbpz8J8D2sSO/nJu0+8g/7/C2Hl2AFX4z6GtY8dg3f7Aq9BbWhg799dhOGSdhnF3aKvYMS9QPxiYB71HCmPn/jruo1egc0LL2LFlSFxjgTLoXlcYOw/W81jaBw33lxax4w4hMosAG/pOYew8OwQHABdB/5mi2PGAEBlu621w8hkG1hcFsfP8ELmTgVmwUVAUO54cIsN9cBrf47BTXhA7bxPStuOBl/leLowdx2f9vo0ZndgnTvrBliqInXcKkeN74HFgFWy9UBA7Pi7lQdn9gDU4WY0kP8uPne8Xp/06AF/zOIK9gwtix6+lPDskr+OAXdDnN+XHwOfHheTGU9qewB64eBs2n8yPHfl6T6nPDhlXV7APVPaAfGl+7PyKrPAxpvvWAk7FRQT2++fHjnxtZYX3M2M7YCZwGey/jeDfzYudz5S6MB2ev4YCf8PFTPh4My925OuhUh+mx/PD7nwv8nwCH+OgNz4vdv6q1OXG0eV26ijj6WEUXAvBi/JiR74eL/U5cfQxlLP68lwF3AGhbtDtmRc73yh1RXF0eR7eC3iAY0fBEPjcNi925OsHpL4gQez8vBjCzxIU3I6CD6H7SW7snMuGiExOAhvcrofynAN8lB2bL57OjR35+hWpb53ATr48F0ZnxZ7bN0FwCvTvzI2dc9lokYk3ZvKkrU+We+YrFG6E7sW5sSNffy31HePc7zonHs89uU+yYmuHa1E4GHZOzI2dc9kdItOyhvbh+j2AS7gNULgWeBUVe+bGjnzN5ZeIXCJ7Ok++Bw4H5gNXoXA4z/Pc/7mxcy6bLzLbJcjV3/7bAgcDt8i88CVQwWMiJ3bkay6/ReS2TdAXOnee/3bhORl4A/grKo5FxVvAOzmxcy57Q2R2EZ2cJOzyWBgIzAV6o+Jj4FJUzs6JHfmay+eKXOckbG9+Hsnz+XLgS+AmVOwPxWnA3Tmxcy77UmT2F538GmznyP3IsvsCZwMEHIbKt4CjIHBBTuzI11xOIrev6BUkkUOujKOdZQzcDFTzEZXtoXwGcF5O7JzLqkXmcNFpmWDOC47FVqLDa9NrgHeBo1HpAZ1h/4Cc2JGvufxdkesveq2SGJ/+tuNx1w04hZ/N/MzPjo2hH4A/QKh3Tuycy7hulsh2E91k2k+3Ic+97WW9fTwwCfgU+D8I/AdYB+TlxI58zeWfitzxotde7OQmmWO+zJXcNocAI4AFwPYQGMPtB+Tw/Z4TO+cyrlsgsoeIbmuxlZNC27aV++RgGXP8vP1W5uSpwOvASjlOlT3WtyJ3tuh1FjvJtrMeRy1kruI2O1b2PouBnSBwMfCE+P5QzrmM6xaL7LGiu53YykvSt25zHofbi42j5b5+GFjHaxgIjpM+ni9HvubydSJ3uejtI3ZapdD+/jFXKPu1Ep7XgNOB24A3eT0KoTOBaUAlsFDOuYzr3hTZ00W3RGwVJjn+wtqlhdw3u0r/8r10I/AU7/WAAyF8HjCRnw1y5Gsu/0nkbhS9g8XOtmI31fbxtxGv63cEugNHydivAJbLvTKYn9vAbbLnv1bKuG65yI4Q3e5iq00d2kqP4Xayb+ghts8DJgOejKW9oHA8MAK4QI58vZeMJU/kzxP9HmKvnW9c59Qivly5J1vL/qGr9Aevh66V5+hKHi+835ExdRGvu+Scy7hupcheK7oHi60OYrtAfKUao3/MFckcsoPsU3hOO0nusbtkXviO+wxKhwDHydx7nFxz+Xcid5fonSR29hS7bcVPfh1i1W3aSuZ5fh9TyvOlzIcTZG7gNsuHUvfAe6kjpSxf2vVh0TlbbJSKzfbioy5tq+8df/tuL/fjATLWzuD3AjKfv8DvVtgvFHfnZyvQTY58zeVfiNxM0TtD7BwgdrcPtHNuLeP232O6vbeR+2If2SedCIwCbpV18XLZV+0A5Z7AvjI2+JzLNorMfNEZJTb6is1O4kO3e14d2t0/XvSc2lbumS6ytusHnABcyOtk2dc9x3sqyYPvvXbAzoJiyeEjkXtA9C4UO/3Ebhfx09Y35+bWMRd/fxT6+mNH2cMcKOOAn0NXAVOknfn59A23p8zDfJ/uKudc9o3IzBedq8TGUWJzD/Gxje9dZl4acgmOL90/28l6Zm/gIInjVH4vwXsCafMIsEzeK3J//Cz5FUj/fCX1EZG/SfRPFXsHif3O4k/3U0EacwuOP3+f7SDvkkvlXQ2vW8+Vd4TT5H007+E/Bv7HtmBsE8eYHTv/n9S9IrLTRPdcsWWJ7d3E1zaB99C5Gcyxpa8fd5a5n/dqtsR2loyxm2UvwWvoJTJffwZ8Iuvfb+V6pdQvEPmbRf8ssWeL/T3Fn+7PlhnKNzhui+QZrPt1F5kD+Bk9APizrHnGSz/9R9Ybb0sffiXvTv4n5x9LnSey00R3hNgaILb3FV+6f1tLLOkew8F+zvM9z1rJWreDtP3uMu76yrqc15/ny96T32HcK89bV979LZP+fVGOy6TcFbl7Re8asXOK2O0rfnYXvx0kjla+515eBvo9rC3032PayBpbj4F9ZP5U8o6Yn9OXAjcAU4F/yph+QebfFcA7/N5Zzt+UugUiO1V0LxVbx4ntA8WXHgvbSiwtfHN1ptpBt0VwDmgh47Gdb2x0lTHLeyRH/p7C74gvknUtz9HTJdf5Mne/IHPc03J8Qcrni9x00btW7AwVu4742Vf86jHSTuJqETI3ZLJ9cgPzhf4bYXvpsxJ5Hu0v722PlnX+OfJ+9nr52ySv+R4CnpT54SX5m9Arcu5J3UMie7vojhZbJ4vtQ8XX3uJ7B4mlre8eKkjz2NHjo6WM0RJZsw6S97T3AEtZDsK9gD/J+4aR/K6V39PJGuxzyDwha/ah8qzb27e/qM36pDZ7tTOAUfI37jPqaa/mb0O95+0mz8BTZQ0wW977/iJ/Y1DAifwOGDhG2pbXtKvlPcFtcu8MlLlkN4m1TR3XejXt1c4K7NUKAnu1Ib69WkFgr3ZWhvZq/phbyDNlB1kDHyTvu4ZLDA/KeP1e/pa6j7z75ncwBwBdsmNj+SO5R+8ErhRegS3vGLrIeqV1mtbVNe3XTgjs194L7NdKgT6B/dp7gf3aCRncrwVzaCl90FHG5X4yt/9R5gxeG/xb5j9eK7KB9tL228q7St4z/yjP1KdlnimT/f6xcn/uLc+I9r51VH3u2YYm2LN1BDoAJXIeb882tB73bP61j+6j7WVO7y7vfLhtz5TYJks/PS/3Oq/tf2V9+TtIrry3XC1z1wJ5V3ijzE08jx4mzwvObSffOqcozWv8ZPZs/WXvMVzGkn/Pxvf7D7Jn4zm4SPZsP0idf89WJjaOF5sNsWfT65F20odd5H74g/xtaoi8Fx0j64m5Mp+9LmvVL+W9IPfdWjm+J+8BHwNmMD9A9t9DZVwcKn/H7Sp92d63Zi3IwJo10X5tVxmzwf3a9dJHD/n2a/+Vvdpqmfe/ljK9X3tIdK4P2a91F18NsV8rCKzJdT/vJevA/tIvp0ncZXLPzhKOzbPyrON+XSX5vi/Hl2Ve/be89/27cFbOkfe/R/jW4rv5+jvTe/R493Nd9mqLfXs1Pn7gO1+chr1afj3s1fx7eD1/t5Ex2VHeie0hc1EfWWedKHP5xcA4+Vsr39f/Aiplv75Y5raIjInnZFw8Iu/gymXddJXs5f8sY86Sdukm98dOsiYqzuBeJJN7tRtknrwvZK/2pLzLCu7V7hOdGxpgrxY1EJyA/GU5mZEZl/VbBPXDyutbxw4g07q6fJcAgjLJ2E6njXYBhMnaCXw1tK1UfBYFkE6beQEk0mnnj8GvFCeO38WdQGeXFOWDPn6XRxp96dzzAlOHRrK+Uo2xXYivVH3rNoqrl/Pbl42J4q6NjXZp0C9K5pmRgq28JPX9c3St+iTkJW6ivgmNKef3OYXZKorTz8nGFi/XBKnUGGPQZvCeTSrWBPn7nxVJj9caYrUDc327QDvkhdxyv/ERL5k4fpKOPSdxWzRkDkE/9ZFLURzbccdSmnKqlZ9a5FZUiz14Tb6D686055odP9fa+kw55+zEcSQ7ZtPht7a5p7pHTDUWO2T+Sfv4y665L+LF0i6FuSQnuVuuzrEF9y7B9W1Oiki2s4NjqKb+K0rQZrUeV3WMMazt2iXo15TiS1I4lRjbxdnD5NVifmoMMdcm7lSSCoszbJzaCcZBUS3u9XTmkGi+rmubpzxGMtD2uyS4D9ulYbykK6d4+WQqr0yNqVRyqGmeTPU+aSp91Zjzqym3cUn2YTK5JtqPpevvCJnM2W5i+SaTZzI520n2dU3vKuv6vKhr39dnOxQluM8bqh1SHQ81tUWieSDZdqnpHU1TaKNx9dg+GR87GdgLpWOfm+79ZHPaq9V579uU4m3AvU465qOGiD8vjWvM+t6zJZoP67M/Gmq/1hD5pHvfls7nldmzNZ49W2PP1+zXUtuvNYY9itmrZW6vVpc2yaun+6M57dPqo33Md0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0jNd0i3vu+QGhgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBhsfWhtYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYLDVIfj91bxAWW6GZPIDCPtObn4D6xQEkGld//eB/Qj7Rm5NttNpoyiAMNmCBL4a2lYqPlsEkE6bLQNIpFPk08vJ+u3/7ycsjmDciXQKU5QP+gjmkU5fOndtu1UAyfpKNcaiEF+p+tZtFE8v14ea4q6NjaI06LdI4pmRiq2WSernB+bOVPskN/DsqalvwmLKDckpL0Ff1Ta2eLkG+y6VGIM2g/dsMrEmyt//rEh2vNYUa0Fgri8KtEMQQR+5cRDPT7Kx59bQFg2ZQ9BPfeTSIo7teEhXTrXxU5vc/Pklu27OTWK+yM9grnkJcq2tz1RzzqshjmTHbDr81jb3VPdLqcZSEDL/pHv85SXRF/FiKUphLomHdMcW3LsE17etUkQysYSNoZr6r0WCNqvtuKprjGFtV5SgX1OJLy9JpBJjUZw9TMtazE+NIebaxJ1XxzjDxmlBgnHQohb3ejpzyKtD/Om+7zLR9oUJ7sOiNIyXdOWUXwPSnVemxlR+ivdFQQ15pHKfNJW+asz55dciv3jjsaZcE+3H0vVOPZM5FzSxfPNTREEKeYflXtO7yro+L+ra9/XZDi0S3OcN1Q75aR4TieaBZNulpnc0TaGN8uuxfTI9djKxF0rHPjfd+8nmtFdr2YT3aZncM6R7r5OO+agh4m+ZxjVmfe/ZEs2H9dkfDbVfa4h80r1va2n2bM1yz9bK7Nea1X6thdmrNeu9WkGa9yGZ3J81h31afbTPr9WxX5aP0xYsS5fMJpyHyeUmqKsvnV9wnUgvrwF1a5JJh42NKEvGTn4jtpWsbCZs/ozyVOwWZNh2qjobUFcbP4X17Ku2uj+hvi5+ixrYd11trIdMOuJo0chiSZetdZBLZ1wtM2DzR8hmIs5WGYj1B8hmMt7WGWyP/0G+PuJvUw/t9D106jOftvXYft9BryHyK26Adv0Wug2Zb7sGbO+10G8M+W/TiGL5Gna+ARpT22wLtAcaW1xfwVZjbq/tmkCMX8Dml0BTaMsOwPZAU4n3M9j9HGiKbdwR2AFoqvGvhv01QHPogx2BnYDmks8n8PMp0Bz7qBOw81aQ48fw+V9ga+jLzkCXrTDnKvj+EPgI2Br7uwTYBdjVtMXmtliJOFYBHwCmTbaMj92ArsDugGmf8PZp7LmZvVp6x0hTi7ep34tNPf7mNic2t3ya+7PL7Nma1xrE7Ne2zvWmaQezV0tmr2baJ3H76HiqJcYcKdPX2RmS2eSTy/XJaj7qJp+N+tYJ413mJKmrZbWutpWMrubd1qT7i08/N4M2wniUYW2oebu/+OozaUvralvadjxbG3328uLYzA3IptNmGK8zL4FtzQveKHJh3OxcXzv5eabaV5DfHbT9s89+fpI+wnic+Wn2pe+72vrSfrReWHvE8xmcu4Pzck2+NT856DvIs/fz2fN8cefH4Yz649dzaTzf2q/W1/EnE4O+P4PPseCzKdlY8mVcJhPLpsC8W9tY/HNaWCw6Dm1X28ryxRPMKRiTjiP4zA8+v+PF5p83wmLTNvz2C2uI8ZfAHKtj1HEF1yjBdUaY7V8Cc622n65Y/bn7Yw2Lr3UI3zLRv8vwx+y/Fzf4YtT2/TaL4vx7mODztKbY2VbYOi64Zkw1B93uOgcds/bjt90iTblornbYmjdsnZqunIK+gu2Z7n5aF2dtH7YOr8l38JkXL0edV9BnsF0T/duj4L818Y/1sFx1v+nc9L4ibG/jzzuY88aQdWQy/apz1nkGfQbbO5O5x9vTxdt3BdsgXv4b4zyH47WBvnfD4gmLJSyGXwNx5Pti8f9blsKQedvfJjp/fwyJ9qDB/XG8MfJrnHESjM0/F+t7038vfpNCO23jW2P748iq4d82Bf+9i7+9gnNta5mr2sh93DbB3xnj7eF1mwXbK/iuILi2DMYYnCv995OOUbdZvDjDYsxO8G/e4rWjf62mY0ymDdtKO+r20u83Er2TCWvTrDgxh71/CVtj+seg/3nnb1P//fGdtKluQx1HWMz+eFN5TxRvLazvmRYha4F4fV8ssSbzTqmm92Kpvu8Kzos13fP++9ufg25r3abxYoyXXybaPmzdoMdJW4nf3/a6DXWMNb2LrOm9X7I5BfdWwf1ucC4Jez4n6gvd7vHiTZTjtkn+2+j8kH/TGJZD8N4IPueD90VwXvlGYtLtnwoHtDH0lc4v+O9y9Fyv+8rf/u2TyK+m98/J5FbTe5fgv58M+/dx/md/8Fnrv7f0fBCcmzsk+bfEZN6z16Y/w/KOt/cJrnd0vv6xq8etzlf3p39MJpNvMn9bSJRrvL+JJPNvT4N7IP9aT+cabw2g79N49yHn1zGFvyMm+3eVmvo+rD3C2iLRvjdsXR62dvM//4L8Mt0Wn8uYTrYdkv0bU7z1VrzxkJXgb2E1vXPw7wOCa3//GiXsHujgWzPocR7sc835TOVvicn8/S3eOEn0t8TcJNvJ30b+9kn0bxH1vaPbJ+zfOPnngzXSRsm2SbJ/l0zXXmhdnDWZnjt1e8Tbq8Xb7zb2vVp1yFo8lTVtbfc9xUlwQhvjPi1evPH2RQ211wmuSxPtyRLt5+ozfv/e4LvA/iAZTmtYHpnYs4W979XzQ6L1lX627liHfVtj26+lynGtbf8kk0td923+9Y9+ptV1T2P2bMntXxLtXWras/nXJMEx5t+zdU7Dvs3s12q/X0u0Ng9bc8ZbC/jnyPrao5i92u/3av42qM0eJJm/EYetr5PZh8Tbg+i9Wir7s1Q4kvHW0In2adVJ3jPp3Kc1VPvocZMV4MHFu06nTE11jUGnserWt42mbqux2GxMtuvioyn4SofPpuw7nTE0x1gyEVOmbGYixqYYa6Z91Efs9eWrPnOpb58NkVtD+W7IXBs6hsaQe2OLpTG1SWOPrTG3VVOJsSm0YVONuSm2bXPJoTm0fXPNqTn2zdaW49bQh1t7zltjH5u2MO1g2sjshUx8Jl5zf5n4TT5mT2PyM/mafE07mHYw7bO1tY//V+37XmjYdbpl4sXR0DrJjp14unXxm6xuovp02Uj1HkqUU7ptpZJDsnKZslnbuSiZNqhtPKnK1zWP+vJVF5818ZkznW86n1t1iSFd7dAYY0lXH2UytkysXZpSrPXpw3BG0zOG0jWW6mvMNpYcGzLXxrJXasjcU/33L1mNIJ7srMbza4hx09j6rKnG2JTGm+Epmhya032XrhyaSk7mvmiav61hLKYj16aY89aWb6baoDm0hWkHM9dvrWPH7NW27vukqe4ZavtNEzOvmjy25rya+55ma9qzbU3rsq19v2b2KKYd6qtdTPsk3z7ZNZRlUqamusag01h169tGU7fVWGw2Jtt18dEUfKXDZ1P2nc4YmmMsmYgpUzYzEWNTjDXTPuoj9vryVZ+51LfPhsitoXw3ZK4NHUNjyL2xxdKY2qSxx9aY26qpxNgU2rCpxtwU27a55NAc2r655tQc+2Zry3Fr6MOtPeetsY9NW5h2MG2U2XYxMDAwMDAwMDAwMDAwaHxItK/NtEzYeWPQSXaPXxNftTZ+k9VNVJ8uG6m+66hvTmgqOSQjlymbtX1nlGp7pRpPKvJ1zaO+fNXFZ3Yt69KVbzrfL9YlhnS1Q2OMJV19lMnYMvGOuSnFWp8+DGc0PWMoXWOpvsZsY8mxIXNtLH/TasjcszMk29TGX1MaN42tz5pqjE1pvBmeosmhOd13mYor24wpk4MZiw0Wb7bJd6vr8+bQFqYdzFzfWMaOgYGBgYGBgYGBgYGBQWPlkI5z//zXlyN8hqOFazsry3att3aLALi2bZYZ/dILURkcN8vM77BHBNgs06V4SVQGx6jMX3t0cwft3jMCWDiHjOuy3NxrXovK4Si2XOBe13X2cB9b1icCWDjnss06ufu/GdXB8Tc6VSd1d4dlHREBLJxv1ul18Aj3yEvejergaOF6s87t1/Vwu548KAJYOBedLGK9s9ue455cviyqh6OFa9HLUqx75Zl7umfOHxIBLJz/Rvfcf5/nfvXlyqgujhauN+vu8egU94E3urlvTz41Alg4t1G2WXfwvy50P6n4KKqLo4Vrn98P3Y2HT3X3md3DfWL8GRHAwrmNMtR/GLUx4bJK94CcES6t+DRqA0cL1zbKN9soWzHVval/qTt+9dkRwMK5jTKxsQux2pFPPeEe13KEO2XXz6J2cLRwbaNc7OwStdXhD1Pdf+xb6rbZ5bwIYOHcRtlvbO2x4XF36KAR7s+dv4zawtHCtY3yzbZa9nrPjbSf6p775n5uxU4XRgAL5zbKbNRFbZ0+fp17ycAn3FZHjnL/ueTrqC0cLVzbKLdRb8fiakfrjl7m7rBfuXuUd4B72OIREcDCuY0yG3WQa8d+6fN/rXNH/lTpzpt/iXvPcd9GbeJo4dpGuY36zTb3bPeee/NJ09w1Uw50zxlwcQSwcG6jzEad2LSJ7T7aZ707v6LS3fPBS91nT/4+ahdHC9c2ym3Ui11b9f5HK5p65jJ3TP9p7vZf/cEddfKlEcDCuY0yG3U2ZKK22x7YidZN+8l9avgCd1Kf0W7XvB+itnG0cG2j3Ea9Dbmo7ays/WjJylbkXf2e+96P09yzdu7ttvrusghg4dxGmY06GzIsC5xB7Ge+szNt/PEnt9pZ6J7918vdi4//MeoHRwvXNspt1NuQEz9nqB1ndaf101rTwj7L3Zfm3+kW7niwaw27PAJYOLdRZqPOhgzLRn3RrYfSrfB1cv4G98Z/LHRndLjS3fbHdVFfOFq4tlFuo96GnIJ81FdW1nF099/3pf3Gt6Zpf1zuFt8w3c0+qY/7zRtXRAAL5zbKbNTZkFGQZR1gHLHfDy45lHrftzM9Om6Dm9/3SXfgf690n12yPtZPS9ZbuLZRbqPehpyCvPgdp5b+/Riavn0PKvyqNf35q+XuIT9Pd+d/1cc9bKerIoCFcxtlNupsyCjIsk7U9+3Pn0b/7t2PDizpTCtP/9m9Y++n3NzLr3atiRuivnG0cG2j3Ea9DTkFeQW9qG/0AO1+zkBa16YHre7ehvabtcLNy7vbzdqrr7vw1qsjgIVzG2U26mzIKMgq6LAucCtxHK/udzrlHNuPdhzdmV7+9md3xNKn3KXH/8Wtcn6OxoGjhWsb5TbqbcgpyCvoSRy3qq4/XUQDbh1IE67uQZeObUNz7PfdP1x1t/vFS33ds3r8JQJYOLdRZqPOhoyCrIIO60ZjifxvDP1UeTqtHtmPXijvTP8bvtE9fNTT7ty+17j5pRujseBo4dpGuY16G3IK8gp6CvrRWLKy/kY/nDmCpv9xIJ1wWw9ad08bevC/77tTW93j9rz8UHds92sigIVzG2U26mzIKMgq6Cjosg2e2+nA226h3WaOoYlXnE7rp/SjLrM704zFG929Xn3anTj/GveC+bG4cLRwbaPcRr0NOQV5BT0FfQU7bA+YRo989Vfaa8IIqqoYSN2n9qDyhW3o4mNXuv88/h73g6WHuofMvyYCWDi3UWajzoaMgqyCjoKugg22BTxMHOd+L95Cmy4bQ2+9dTqtebYf/e3DzvThkF/cbw5c5F4x6Fp3rv1L7Plq/2Lh2ka5jXobcgryCnoK+gp2JM6H1bml5VSWO4EGvTaCPvtoIL35dQ8a8mMbWrxkpftl5T3uw336uZfsfm0EsHBuo8xGnQ0ZBVkFHQVdBRtsCzZd4nh79ayg29tNon0vG0srjx5Kff6vP503pAvtvscm96IPFrn9O45xK3bdFI0XRwvXNspt1NuQU5BX0FPQV7CjYC8aL+yrgybNprNOKyelJtApBSPpQHsQDTi6J91xWVuafNsqd/0hM9z/fNzPHZg9JgJYOLdRZqPOhoyCrIKOgq6CDQVbbBO2X+dnMhV0mkcfbJpB4/eZRBv6jaUvBg+lPYf2p0eu6kJnj9/kzt7rGffbO8a4/SbG4sfRwrWNchv1NuQU5BX0FPQV7CjYU7AbjR9+1JQzKun8Y+fQNweV04OdJpB10UjaYfggilzRk+7+Z1t6+fNV7uxLZrgXdOvvfjNqTASwcG6jzEadDRkFWQUdBV0FGwq2FGyybX5WE+czvm2E+nWfR9n7V5DaeRKNP3gs7afQH3/qT+9P7kI9F21y5x/7jPvR/DFu3iOxfHC0cG2j3Ea9DTkFeQU9BX0FOwr2FOwq2I/mA39q7HeLqfWLT9BP1hw6sHM5jek4gd7tN5IOGTiIel/ek9Z6bWnnbT5wO02d4bY8vL+719VjIoCFcxtlNupsyCjIKugo6CrYULClYFPBNvuAr2+J8/vuzKXUYXSEduw2j3btU0FfWJPogjFjadzEofTgvf1pSlUXOqn7r27JPc+43/cb6w7f6ddofjhauLZRbqPehpyCvIKegr6CHQV7CnYV7Cv4ieYHv+rzI5bRwB9foKMPrqSiHeZQ10PKaVa/CfTF1SPpsImD6MZFPenEjW3p/XM+cDuvnOF2ntPfHfLemAhg4dxGmY06GzIKsgo6CroKNhRsKdhUsK3gg33BZ5bH+e5fUEUPI9/IsAh9dtk8Om1EBbW/eBJdtHIsfb18KE38sD9dkVVCi4b+6nZ/8Rl36RVj3RPOjuWLo4VrG+U26m3IKcgr6CnoK9hRsKdgV8G+gh8Ff9F8oe5Ur15NWb2W0dW3LKbzr6ikkcPnkHtBOQ24eAKdtGIkzX1/EF36TU+a1amYInd94FobZ7iPvdrfvarn2Ahg4dxGmY06GzIKsgo6CroKNhRsKdhUsK3gQ8GXgk/4LvK6nl5Ni+5aS8uOrqJBE5fSMZMidGH5PDrhlgq66++TaGGnMpq8xzC6fh+LnhtQQvsu/dW9ds+Ie8aqse7c12L542jh2ka5jXobcgryCnoK+gp2FOwp2FWwr+BHwZ+CXwX/HIeDu8K7dOJ6OuLENfTYmcuo3dTF9OSkSiq5dQ6t+Ec5fXPzBLq+xyia0GkwLTyklAqGFdPqoir3uyMq3G5dLbdgwdgIYOHcRpmNOhsyCrIKOgq6CjYUbCnYVLCt4EPBl4JPBd+IIw9x7IDx0M7LW1Ho3XhNNd05eS2tu6QK420pfTAqQiePmkc9RlXQf0dPosVfj6W83GF05O4W7XZ0CT3+8a/uZ6URd+MnY90hz8TaBkcL1zbKbdTbkFOQV9BT0Fewo2BPwa6CfQU/Cv4U/Cr4V4gDMbXjuJzR37byfnk915s+ej0509fQ8hHL6MyLF9OAMZW0+vI5dPUV5fTwXybQum9G0qk7DabJdiktOquYLimocjscU+EO7Wm5j587NgJYOLdRZqPOhoyCrIKOgq6CDQVbCjYVbCv4UPCl4FPBt0IMHAti2sX7+peO3oJ7ir0Njxd6e8+qppP/tpYuu7OK7rl5Kf2KsTQTY6ndlAo6ceokOq9bGT120DCKnGBRmwtLaNcdq93vj424z7Uvc+/oWB1tLxwtXNsot1FvQ05BXkFPQV/BjoI9BbsK9hX8KPhT8KvgXyEOB/E4iIvjA3b29v+4vfdw69Ze1epc7/6319PJM9fQgJuW0fRxi6nLnZX04p1z6KLpmE8nT6CK/UfRxiMH0ymnldLGa4ppSmmVe+vICvfTQZb73QtjI4CFcxtlNupsyCjIKugo6CrYULClYFPBtoIPBV8KPhV8K8TgIBYHMXFswH4Yb3t7a2eXeNd92tEb8nyxN+TTQm/c5Gr64fa1tM/1VfTuP5fSqooILXtgHv2/igr6qmISnX90GR3152F02UiL3phQQqccVe0+MyLiRg4rc88+PNaWOFq4tlFuo96GnIK8gp6CvoIdBXsKdhXsK/hR8KfgV8G/QhwO4nEQl4P4EOveHK/T+92u3sMLO3njNrb3Lnixlbfu2Vzvx4fW06Pla+iIO5ZR/pzF1O+flXTH/XPImlFOR83EvXviKPrknMH02eWlVHl7MVUMrHI3XF/hvjLccufNGxsBLJzbKLNRZ0NGQVZBR0FXwYaCLQWbCrYVfCj4UvCp4FshBgexOIjJQWwcI2K10bYHez9338/rsWYv76aPS7yZVR29i1cWe6MXF3qnoo3PvGMtPVdeRTtOXUrP34H7+655dMz0Cjr+zklkqzIac/wwGnGuRY/+o4Qi+1a7H50fcX84uMxd2DPWxjhauLZRbqPehpyCvIKegr6CHQV7CnYV7Cv4UfCn4FfBv0IcDuJxEJeD+BzE6SBexH4wx+/0rOzlPb7bvl7vJV29ATM7eYPntffeXtLKO2pprke3rCfvxjV05m3LqP00jOXySnpr+hy6dwrWnHdOoL4DRtFOZwymXqNL6YrJxfTioCr30fEV7v9dYrmRB8ZGAAvnNsps1NmQUZBV0FHQVbChYEvBpoJtBR8KvhR8KvhWiMFBLA5ichCbgxgdxMoxI/bj0PYDvKcvQB+80tsb9HmpN+2Jvbzhb5V4y9/t6H1UVey9/2qh1/LRalrjrqVRj1fR84uWUvHCCJ3/5Dxas7CCutIkmjumjO67aRg9NN2ixx4vodLrq90e0yPuO5djzrhO5ozrqi1c2yi3UW9DTkFeQU9BX8GOgj0Fuwr2Ffwo+FPwq+BfIQ4H8TiIy0F8DuJ0EK+DuB3Ej1wGcD7A4d7Ld/X1Xmt/oPfQ6u7elW919Ta80cmbvaq999DyVt71y3O9uxespzsja+jcJ5fRs95iyltQSb8+M4ceonL6P5pAT9w0ij6+YzAdOLeUyhcU008Tqtw3n6hwl8y23GtfGxsBLJzbKLNRZ0NGQVZBR0FXwYaCLQWbCrYVfCj4UvCp4FshBgexOIjJQWwOYnQQq4OYHcTOOQBnoG9O8do/Mtib12KAN+s9y7thRW/vX4tKvZNX7OVduaLE+3ZJR2/PV4u9cS8VetlTqmnI3WtpGN8ndy2lCzAXdZw+jyoxFy2aO4leHFlG7hXD6JVbLbp/Zgm9ena1++GtEXe3c8vch86P9RGOFq5tlNuotyGnIK+gp6CvYEfBnoJdBfsKfhT8KfhV8K8Qh4N4HMTlID4HcTqI10HcDuJ3kIeDfJDbKZwfcJq37M4TvQ1PH+ON/vwwr+3Svt737/fy5r3R3fvzy129V17p5O36Wnuv5OVW3sNLcr1uM9bTirvX0AH3LaMD7llMr9xdSafPmEMPzsL6898TaN9LR9El1w+mw8pL6ekHi2lcWZV7w70Vbp9bLHff/4yNABbObZTZqLMhoyCroKOgq2BDwZaCTQXbCj4UfCn4VPCtEIODWBzE5CA2BzE6iNVBzA5id5CDg1wc5MS5ARd7bz093Ntu9jCvVYdTvIfXDPaGFw3wjlphedkf9vYuX1HqXYy+LFlV4j3w347e3auKvdPfLfR6LaimY3G/5eJ+O+jppTR/UYTaRubRkmcqaO6zk+isSWX0+Mxh9OSDFs1dUEJnT6x2h/0n4g6rKHNnXxrrSxwtXNsot1FvQ05BXkFPQV/BjoI9BbsK9hX8KPhT8KvgXyEOB/E4iMtBfA7idBCvg7gdxO8gDwf5OMjLQX4O8uR8gYu85787y/v12VO9q9ac6M16/Rjv8w8P83Z8p6+3ZE0vrwD35H1VXb173+nkdXuvvZezqpU3eWWuN99dT8d6a2iFu4zKn1lMB0YqacKCOVTmldOGFybQ23ePon3mDKbIo6W00i2mHuVVbp8XK9zLH7DcKVVjI4CFcxtlNupsyCjIKugo6CrYULClYFPBtoIPBV8KPhV8K8TgIBYHMTmIzUGMDmJ1ELOD2B3k4CAXBzk5yM1BjpwrcAPu03Heux9f6V397SjvhvuGe10fG+Y5H/7Rq1w8GOP3KO/gNyxv7+d6e2++Vepd+Rrm19dLvB5vdvR649796PVC74cZ1XTV7LX0/P1VtN3speTOjFCfWfOo878ryHlkEv14TRl5E4bRp3daVP1QCd08rtpddXfE3Rv37qn3xvobRwvXNspt1NuQU5BX0FPQV7CjYE/BroJ9BT8K/hT8KvhXiMNBPA7ichCfgzgdxOsgbgfxY8wf5SAfB3k5yM9Bng7ydZA32mActwMw3uvU8lpvyE6jvSVXXuj1mHyWd+OLp3oWnei1/uQYb9DKw7zIir7eppd6eUe83d174KWu3lOvd/IWv9HeK3q1lXcJ1s0nzVpPl9+3hnaYtYzeqVhMV8+qpMfnzqGjHy2nWxdMoFl/G0Xb3TaYjv9XKR25sJgm3oh7fBbm5hmWe+buZRHAwrmNMht1NmQUZBV0FHQVbCjYUrCpYFvBh4IvBZ8KvhVicBCLg5gcxOYgRgexOojZQewOcnCQi4OcHOTmIEcHuTrI2UHu3AbArRgTE72xH0zwPm93gzfnzjLP+/JKz3tplPfJa8O9F74d5g2s+qN3+HuDvX2WH+VVvmZ5Fat6e8vfK/Umvb+XN/P9Em+nZR297VcUe9e8X+j95clqeuOJtfT9gioa9+RSuuvJCL1O82j75yrolZcm0W0zyqjPo8Pob5UWtXZLaPJ0jI+FEXfWg2XuA3fFxgeOFq5tlNuotyGnIK+gp6CvYEfBnoJdBfsKfhT8KfhV8K8Qh4N4HMTlID4HcTqI10HcDuJ3kIeDfBzk5SA/B3k6yNdB3g7yd9AODtoDbTOR2wf4h3d/5Y3eTSuv8/7U+lpvxsLLvDN/vNDrt/gs7/O3TvXO+ehE78NPj/GefPswb+lHfb157/Ty8lZ198Yv7eo9tqKTN/KD9t4zeJ4fg7lj0cPr6bKFa6j3gmV0x1OLqY9bST2fnUPZr5STtWQCzb1/FB07fzC9vaiU9ni1mP50f5V74vMVbsenLTf772URwMK5jTIbdTZkFGQVdBR0FWwo2FKwqWBbwYeCLwWfCr4VYnAQi4OYHMTmIEYHsTqI2UHsDnJwkIuDnBzk5iBHB7k6yNlB7g7awEFbcJs4hpVrfuZnfuZnfuZnfuZnfuZnfubXeH/MHY3xSMcxX9Nm7ihzSJknGuOHxrijMR5pTIa5o8wh9cswdzTGI43JMHeUOaTMJY1xSGO80RiHNMYN1XxQ5o0yf5S5o8wlZb6m8DOjvNEYh/S3OswbZf4oc0eZS+rXYd5ojEMa45NqDinzRpk/ytxR5pL6dZgzGuOPau7mFl4pc0mZN8r8UeaOMpfUr8ucUeaPMo80xh2N6WpbzBtl/ihzR5lLypxS4ZBGOaPMH2XeKHNJg7rMGWXuKPNGmUeqOaU+DmmUM8r8UeaNMpdU80o1h5Q5o8wdZd4o80g1p3QLhzTGF2XuKHNGmUe6hTO6hV/KXFLmjDJ3lHmjzCNl7ihzStmmtsV8UeaOMmeUeaRBW8wvZS4pc0aZO8q8UeaRMneUOaXMLY1xSGN8UeaOMmeUeaTMJ2XuqOaXag4p80WZN8qcUeaQMm+U+aSaW7qFQxrjizJ3lDmjzCNl3ihzSjW/VHNImS/KvFHmjDKHlHmjzCfV3NItHNIYV5R5o8wXZQ4pc0aZT6o5o36eKXNJmS/KvFHmjDKHlHmjzCdl7ihzS5ljyhzSIF+UOaTMGWU+KfNKmTuqeaaaQ+rnizJ/lDmjzCVl3ijzSjXHVHNIg1xR5o8yX5S5pMwpZd6o5oz6+abMJfXzRZk/ypxR5pIyb5R5pZpjqjmkQa4o80eZL8pcUuaMMq90C2d0C9+UuaR+rihzR5kvyjxS5owyp5S5pcwd1VxTzSEN8kSZO8pcUeaRMl+UOaVBnmmQQ+rnijJ3lPmizCNlzihzSpk3yvxSzTXdwiHdzBGNckY1V5R5pMwXZU4pc0uZN7qFM7qFd8pcUh9P1NVcUeaQMl+U+aTMGWVuKXNMmTuqOadbOKSb+aFRvqjmiTKHlLmizCdlvihzS4N80yCH1McTdTVXlDmkzBdlPilzRplbyrxR5plqzukWDulmfmiULyo8UVdzRZlPynxR5pYG+aZBDqmPI+oKT9TVXFHmkjJflHmlzBlljilzTZk7qrmnWzikWVmaJ+rjiLqaJ8pcUuaKMq+U+aXMGQ3yToMcUh8/1BWOqCs8UVdzRZlTynxR5pcyz5R5o1s4o1s4qMwl5Rg1R9THD3WFI+pqnihzSplbKnxR5pr+jn8a5JAKNzTKE/VxRKP8UeGKkuaLMr+UeabMG9WcUT8HlbmkHKvmh/q4oa7wQ13hiJLwREm4oiR8UQrjjAZ5qQk4oq7wREm4oqT5oswzZb4p80Y1Z9TPRWUuaRgvVHNGffxQEo4oCU+UhCtKwhelMM5okJ+agB/qCkeUhCdKwhUl4YuScEaZe7qZM+rnpDKXNIwTqvmiPm4oCT+UhCNKwhMlzRVl3mkYHzWMQ5qAG+oKP5SEI0rCEyXhipLwRZl3+jsuapBDGsYH1VxRHy+UhBtKwg8l4YiS8ERJc0WZfxrGSw3jkMbhhEb5oswN1RxSH0eUhCdKwhUl4Ysy//R3nNQghzTIA/VzRDUnVPNHfdxQEn4oCUeUhCdKwhVlHupmjmgYT9XPJQ3yQf1c0QA3lIQfSsIRJeGJknBFSfiizENVQW5qkEMa5ID6+aGaD6q5oz5eKAk3lIQfSsIRJeGJMgc1Lj81Hoc0yAPV/NAAHzTKHWVeqOaT+vihJBxREp4oaa4oc1HDOKphHFI/99PPCQ3hgUZ5o8wH1VzSAC80yjMVfigJR5R5qMrPS03EGQ3yWf38zyA3NMAHJR8nNMonZW6o5pgGOKJR/ilzReNxVONxSJn3yZxPPxeU2y7IAfXzRjUfVHNKfbxQ8nFDo9xT4YiS8ESZm6ri8VbjcUg17zPIBw3yQDVvNMAHjXJKmReqeaY+fihpjihzUYUnGuWmMl80jLsaxiFlnmc8DmiQ/6k5owEeaJRPKnxQ8nFCo5xT4YaS5ocyJ5W5qcwT1ZzQRDzWMC4p8z3DeKBhHFA/d9THByUfJzTKMxVuKPn4oVEuqvBESbiixHxRzREN47L6uaSp8D79fFE/B1TzSQNc0CjXVDihzD9Vmovq44dSMhzRmniuqfI/NW9U80A1nzTAB41yTYUXSj5uaJSPKhxREp4o81XjclnjcUhT4Xv6eaJ+7qfmkWoOqOaXBrigUe6pcEJJeKHE3FDNU9Uc0Zp4rTVxSJPlfAa5okEOqOaUai6o5poGOKFRHqpwQ0n4oZ5wRJmzmoAjGp/rytzSZDmeQW6on/Pp55D6+Z+aY6p5oJp7qvmgmpPq44V6wg1l3qqPA1ozzzURlzRZnmeQHxrkfWoeqeZ/an6p5oFu5p0KH1TzUX28UOapOpqzqjmiNXFca+KQJsPtDPJBw7iefv6o5n36+aV+Dqjmn/q4oJ6PDxrlqfp4oVH+KvNDk+G7JsMhTYbbGcYJDfI9/RxSP/dTc0w1B1RzT31cUM/HB41yVH280Ch3lfmhyXBdk+GQJuJyxuN/xuN4+rmjQb6nn2OquZ9+DmqAB8ocVcfPWQ3wQpnTmjT/NVkOaU18zjAOaBjH088bDfI9/fxSzf3U3FM/B9TPTdV8UM1b9fFCmc+aNPc1WQ6pn7/p527G43vyuInH6wxyRoM8Tz+/NMj59PNQNf9Tc1Q1D1RzVzUfVHNaNS90C+czeV5sMlzSeBzORLzPRPxOP3fUz/X080uDvE8/D1VzQDVHVXNB/fzVAC+U+a1Jc2ENh9T8zM/8zM/8zM/8zM/8zM/8zK9p//4/SjXMXQ==";
