// A reader of embcompress artifacts without dependencies, by docs/artifact.md: to be copied together with symbols.bin.
//   const artifact = await openArtifact(bytes, symbols);   // Uint8Arrays; or, for the first, async (begin, end) => bytes
//   artifact.tables; await artifact.rows(table, [3, 5]);   // {shape, data}; without ids all rows; complex ones as pairs
const POLYNOMIALS = { 4: [0o5, 0o2], 8: [0o13, 0o4], 32: [0o45, 0o10], 256: [0o515, 0o362] };
const CRC = Int32Array.from({ length: 256 }, (_, n) => { for (let k = 8; k--;) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1; return n; });
const parity = (n) => (n ? parity(n & (n - 1)) ^ 1 : 0);
const unfold = (n) => (n % 2 ? -(n + 1) / 2 : n / 2);
const sum = (values) => values.reduce((one, other) => one + other, 0);
const half = (n) => (n >> 15 ? -1 : 1) * ((n >> 10 & 31) ? 2 ** ((n >> 10 & 31) - 25) * (1024 + (n & 1023)) : (n & 1023) * 2 ** -24);
const FLOATS = { F64: (b) => new Float64Array(b), F32: (b) => new Float32Array(b), C64: (b) => new Float32Array(b),
  F16: (b) => Float32Array.from(new Uint16Array(b), half), BF16: (b) => new Float32Array(Uint32Array.from(new Uint16Array(b), (n) => n << 16).buffer),
  U8: (b) => new Uint8Array(b), I32: (b) => new Int32Array(b), I64: (b) => Float64Array.from(new BigInt64Array(b), Number) };

function readSymbols(bytes) {
  const buffer = new Uint8Array(bytes).slice().buffer, whole = new Int16Array(buffer), counts = whole.slice(0, 94), size = sum(counts);
  const [frequencies, lengths] = [whole.slice(282, 282 + size), whole.slice(282 + size, 282 + 2 * size)];
  const slots = new Uint16Array(188 * 4096), [before, symbol, side] = [0, 0, 0].map(() => new Int16Array(size));
  for (let table = 0, first = 0; table < 94; first += counts[table++]) {
    const entries = Array.from({ length: counts[table] }, (_, n) => first + n);
    let slot = 0;
    entries.forEach((entry, n) => {
      [before[entry], symbol[entry], side[entry]] = [slot, whole[94 + table] + n, n ? +(n === entries.length - 1) : -1];
      slots.fill(entry, table * 4096 + slot, table * 4096 + (slot += frequencies[entry]));
    });
    slot = 0; // of the prefix code: the bits of a slot count from the lowest on
    for (const entry of entries.sort((a, b) => lengths[a] - lengths[b] || a - b)) for (let n = 4096 >> lengths[entry]; n--; slot++) {
      let back = 0;
      for (let bit = 0; bit < 12; bit++) back |= (slot >> bit & 1) << (11 - bit);
      slots[(94 + table) * 4096 + back] = entry;
    }
  }
  return { costs: whole.slice(188, 235), losses: whole.slice(235, 282), frequencies, lengths, slots, before, symbol, side, levels: new Float32Array(buffer, 564 + 4 * size) };
}

function makeLayout(symbols, classes) { // of all columns in their order: what a string holds, and how
  const columns = [...classes.keys()].filter((k) => classes[k] >= -6).sort((a, b) => classes[a] - classes[b] || a - b);
  const high = columns.map((k) => Math.min(classes[k], 160) - 32), raw = high.map((n) => Math.max(0, Math.ceil(n / 8)));
  const tables = high.map((n) => (n > 0 ? 39 + (n - 1) % 8 : n + 38));
  let [best, least, taken, lost] = [0, 2816, 0, 0];
  for (let n = 1; n <= Math.min(24, columns.length) && taken < 2816; n++) {
    const k = columns.length - n;
    [taken, lost] = [taken + symbols.costs[tables[k]] + 256 * raw[k], lost + symbols.losses[tables[k]]];
    const loss = lost + Math.max(0, 2816 - taken);
    if (loss < least) [best, least] = [n, loss];
  }
  const bytes = Math.floor(sum(tables.map((table, k) => symbols.costs[table] - symbols.losses[table] + 256 * raw[k])) / 2048);
  return { columns: Int32Array.from(columns), raw: Int32Array.from(raw), bytes, tables: Int32Array.from(tables, (table, k) => 2 * table + (k >= columns.length - best ? 94 : 0)) };
}

function makeDecoder(symbols, states) { // a function that decodes a string, codes[at..end), into numbers in steps
  const { frequencies, lengths, slots, before, symbol: symbolOf, side, levels } = symbols, [low, high] = POLYNOMIALS[states].map((h) => h >> 1);
  const sets = Uint8Array.from({ length: states }, (_, s) => parity(s & high));
  const after = Uint8Array.from({ length: 2 * states }, (_, n) => ((n & ~1) | ((n & 1) ^ parity((n >> 1) & low))) % states);
  let x = 0, at = 0, end = 0, codes = null;
  const fill = () => { if (x < 65536 && at < end) { x = x * 65536 + codes[at] + 256 * codes[at + 1]; at += 2; } };
  const pull = (bits) => {
    let value = 0;
    for (let some; bits > 0; bits -= some) { some = (bits - 1) % 15 + 1; value = value * (1 << some) + (x & ((1 << some) - 1)); x >>>= some; fill(); }
    return value;
  };
  return (bytes, begin, stop, { columns, tables, raw }, numbers) => {
    x = 0; at = begin; end = stop; codes = bytes;
    for (let n = Math.min(end - at, 4 - (end - at) % 2); n--;) x = x * 256 + codes[at++];
    for (let k = 0, state = 0; k < columns.length; k++) {
      const set = sets[state], slot = x & 4095, entry = slots[(tables[k] + set) * 4096 + slot];
      x = tables[k] < 94 ? frequencies[entry] * (x >>> 12) + slot - before[entry] : x >>> lengths[entry];
      fill();
      let symbol = symbolOf[entry], beyond = 0, more = 0;
      if (side[entry]) { while (pull(1)) more++; beyond = 2 ** more + pull(more) - 1; symbol += side[entry] * beyond; }
      if (raw[k]) symbol = symbol * (1 << raw[k]) + pull(raw[k]);
      numbers[columns[k]] = beyond || raw[k] ? 2 * symbol + set : levels[entry];
      state = after[2 * state + (symbol & 1)];
    }
  };
}

function makeLists(bytes, start) { // a function that reads the next list of integers, each behind its size
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const read = (count, contexts = null, signed = true) => {
    let at = read.at + 5, end = (read.at += 4 + view.getUint32(read.at, true)), size = 2 ** 32 - 1, code = 0;
    const width = bytes[at - 1], top = 2 ** Math.min(width, 12), chances = [], seen = [], next = () => (at < end ? bytes[at++] : 0);
    for (let n = 4; n--;) code = code * 256 + next();
    return Array.from({ length: count }, (_, number) => {
      let prefix = 1;
      for (let bits = width; bits--;) {
        const node = (contexts ? contexts[number] : 0) * top + prefix, chance = prefix < 4096 ? chances[node] ?? 16384 : 16384;
        const part = (size >>> 15) * chance, bit = code < part;
        if (bit) size = part; else { code -= part; size -= part; }
        if (prefix < 4096) chances[node] = chance + Math.floor(((bit ? 32736 : 32) - chance) / (1 + (seen[node] = Math.min(64, (seen[node] ?? 0) + 1))));
        for (prefix = 2 * prefix + bit; size < 2 ** 23; size *= 256) code = code * 256 + next();
      }
      return signed ? unfold(prefix - 2 ** width) : prefix - 2 ** width;
    });
  };
  return Object.assign(read, { at: start });
}

function decodeBases(symbols, bytes, classes, sizes, rank, dim) { // (rank, dim), rounded to float32
  const decode = makeDecoder(symbols, 32), product = Array.from({ length: rank }, (_, k) => Float64Array.from({ length: dim }, (_, n) => +(n === k)));
  const unit = (values) => { const norm = Math.sqrt(values.reduce((s, v) => s + v * v, 0)); return values.map((v) => v / norm); };
  let at = 0;
  const mirrors = classes.map((own, k) => {
    const numbers = new Float32Array(dim - k);
    decode(bytes, at, (at += sizes[k]), makeLayout(symbols, new Array(dim - k).fill(Math.max(own, -6))), numbers);
    if (numbers.every((n) => n === 0)) numbers[0] = 1;
    const mirror = unit(Float64Array.from(numbers)), sign = mirror[0] > 0 ? -1 : 1;
    mirror[0] -= sign;
    return { mirror: unit(mirror), sign };
  });
  for (let k = mirrors.length; k--;) for (const column of product) {
    const { mirror } = mirrors[k];
    let inner = 0;
    for (let n = 0; n < mirror.length; n++) inner += mirror[n] * column[k + n];
    for (let n = 0; n < mirror.length; n++) column[k + n] -= 2 * inner * mirror[n];
  }
  return Float64Array.from({ length: rank * dim }, (_, n) => Math.fround(product[Math.floor(n / dim)][n % dim] * (mirrors[Math.floor(n / dim)]?.sign ?? 1)));
}

function readCoded(symbols, book, index, count, rank, dim) { // all of a coded table but its strings
  const view = new DataView(book.buffer, book.byteOffset), states = view.getUint16(0, true), flags = book[2];
  const [kinds, profiles, vectors] = [view.getUint32(4, true), view.getUint16(8, true), view.getUint32(10, true)];
  const steps = Array.from({ length: book[3] + (flags >> 1) }, (_, n) => view.getFloat32(14 + 4 * n, true));
  const list = makeLists(book, 14 + 4 * steps.length), running = (values) => { let total = 0; return values.map((v) => (total += v)); };
  const [, shifts, scales] = [false, true, true, false].map((signed) => list(kinds, null, signed).slice(1));
  const least = (values) => values.reduce((a, b) => Math.min(a, b), values[0] ?? 0);
  const [own, sizes] = flags & 1 ? [running(list(vectors)), list(vectors, null, false)] : [];
  const first = running(list(rank)), others = list((profiles - 1) * rank), classes = [...first, ...others.map((n, k) => n + first[k % rank])];
  const contexts = classes.map((_, k) => Math.max(0, Math.min(63, first[k % rank] + 7)));
  const centers = flags & 2 ? Float32Array.from(list(profiles * rank, contexts), (n) => n * steps[book[3]]) : new Float32Array(profiles * rank);
  const bases = flags & 1 ? decodeBases(symbols, book.subarray(list.at), own, sizes, rank, dim) : null, lists = makeLists(index, 0);
  const owners = lists(count, null, false), used = owners.flatMap((owner, row) => (owner ? [row] : [])), of = used.map((row) => owners[row] - 1);
  const shift = lists(used.length, of, false).map((n) => n + least(shifts)), scale = lists(used.length, null, false), numbers = lists(used.length, null, false);
  const known = new Map(), layouts = new Array(count).fill(null), rowSteps = new Float32Array(count), starts = new Float64Array(count + 1);
  used.forEach((row, n) => {
    const key = of[n] * 65536 + shift[n] + 32768;
    if (!known.has(key)) known.set(key, makeLayout(symbols, classes.slice(of[n] * rank, (of[n] + 1) * rank).map((own) => own + shift[n])));
    layouts[row] = known.get(key);
    rowSteps[row] = steps[numbers[n]] * Math.fround(2 ** ((scale[n] + least(scales)) / 8));
  });
  const expected = used.map((row) => layouts[row].bytes), bits = (n) => 32 - Math.clz32(n);
  const high = expected.map((n) => Math.max(1, n)).map((n) => Math.min(63, 4 * bits(n) + (n >> Math.max(0, bits(n) - 3) & 3)));
  lists(used.length, high).forEach((more, n) => { starts[used[n] + 1] = expected[n] + more; });
  for (let row = 0; row < count; row++) starts[row + 1] += starts[row];
  const decode = makeDecoder(symbols, states), weigh = (row, codes, skipped, weights) => { // of a row that is not zeros
    decode(codes, starts[row] - skipped, starts[row + 1] - skipped, layouts[row], weights.fill(0));
    const step = rowSteps[row];
    for (let k = 0, n = (owners[row] - 1) * rank; k < rank; k++, n++) weights[k] = Math.fround(weights[k] * step) + centers[n];
  };
  return { bases, layouts, starts, weigh };
}

function multiply(weights, first, bases, target, at, dim) { // target[at..] = sum of weights[first + k] * row k of bases
  const total = new Float64Array(dim);
  let n = 0, k = first;
  for (; n + 4 * dim <= bases.length; n += 4 * dim, k += 4) { // four rows at once: half the time
    const a = weights[k], b = weights[k + 1], c = weights[k + 2], d = weights[k + 3];
    if (a || b || c || d) for (let j = 0, m = n; j < dim; j++, m++) total[j] += a * bases[m] + b * bases[m + dim] + c * bases[m + 2 * dim] + d * bases[m + 3 * dim];
  }
  for (; n < bases.length; n += dim, k++) for (let j = 0; j < dim; j++) total[j] += weights[k] * bases[n + j];
  target.set(total, at);
}

export async function openArtifact(source, symbolBytes) {
  const symbols = readSymbols(symbolBytes), known = new Map(), bytes = typeof source === "function" ? null : new Uint8Array(source);
  const read = async (begin, end) => {
    const part = bytes ? bytes.subarray(begin, end) : await source(begin, end);
    if (part.length !== end - begin) throw new Error(`the artifact ends before byte ${end}: it is cut short or damaged.`);
    return part;
  };
  const length = new DataView((await read(0, 8)).slice().buffer), start = 8 + Number(length.getBigUint64(0, true));
  const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(await read(8, start)));
  const document = JSON.parse(metadata?.embcompress ?? '{"schema_version": "none"}'), { tables, schema_version: version } = document;
  if (version !== 1 && version !== 2) throw new Error(`the file has schema version ${version}; this reader reads 1 and 2.`);
  for (const { data_offsets: [, end] } of Object.values(entries)) if (end > 0) await read(start + end - 1, start + end);
  const raw = async (name) => {
    const [begin, end] = entries[name].data_offsets, part = await read(start + begin, start + end);
    let crc = -1;
    for (let n = 0; n < part.length; n++) crc = CRC[(crc ^ part[n]) & 255] ^ (crc >>> 8);
    const found = ((crc ^ -1) >>> 0).toString(16).padStart(8, "0");
    if (found !== document.crc32[name]) throw new Error(`tensor ${name} does not have its crc32: the file was changed or damaged.`);
    return part;
  };
  const floats = (name, part) => FLOATS[entries[name].dtype](part.slice().buffer);
  const rowsOf = async (name, ids) => { // of a stored tensor: a function from a place among the ids to the floats of that row
    const { shape: [count], data_offsets: [begin, end] } = entries[name], width = (end - begin) / count;
    const parts = ids && await Promise.all(ids.map(async (id) => floats(name, await read(start + begin + id * width, start + begin + (id + 1) * width))));
    const whole = ids ? null : floats(name, await raw(name)), size = ids ? 0 : whole.length / count;
    return (n) => (ids ? parts[n] : whole.subarray(n * size, (n + 1) * size));
  };
  const artifact = { tables, names: Object.keys(entries), tensor: async (name) => floats(name, await raw(name)) };
  artifact.labels = async (table) => {
    const [text, ends] = [await raw(`${table}.labels`), await artifact.tensor(`${table}.label_offsets`)];
    return Array.from(ends.slice(1), (end, n) => new TextDecoder().decode(text.subarray(ends[n], end)));
  };
  artifact.rows = async (table, ids = null) => {
    const { shape: [count, ...shape], dtype, rank, coding, kind, matrix, levels } = tables[table], n = ids ? ids.length : count;
    const pairs = dtype === "complex64" ? [2] : [], dim = [...shape, ...pairs].reduce((a, b) => a * b, 1);
    const data = new (dtype === "float64" ? Float64Array : Float32Array)(n * dim), chosen = ids ?? Array.from({ length: n }, (_, row) => row);
    if (chosen.some((id) => !(id >= 0 && id < count))) throw new RangeError(`table ${table} has rows 0 to ${count - 1}.`);
    if (coding === "coded") {
      if (levels) throw new Error(`table ${table} has codes of schema 1, which this reader does not read.`);
      if (!known.has(table)) known.set(table, readCoded(symbols, await raw(`${table}.codebook`), await raw(`${table}.index`), count, rank, dim));
      const { bases, layouts, starts, weigh } = known.get(table), [begin, end] = entries[`${table}.codes`].data_offsets;
      if (starts[count] !== end - begin) throw new Error(`table ${table} is damaged: its strings are not as long as its index says.`);
      const whole = ids ? null : await raw(`${table}.codes`), weights = new Float32Array(rank);
      for (const [at, row] of chosen.entries()) {
        if (!layouts[row]) continue;
        const codes = whole ?? await read(start + begin + starts[row], start + begin + starts[row + 1]), skipped = whole ? 0 : starts[row];
        weigh(row, codes, skipped, weights);
        if (bases) multiply(weights, 0, bases, data, at * dim, dim); else data.set(weights, at * dim);
      }
    } else if (kind === "bilinear") {
      const [left, right] = [await rowsOf(`${table}.left`, ids), await rowsOf(`${table}.right`, ids)], [in1, in2] = matrix;
      for (let row = 0; row < n; row++) for (let m = 0; m < dim / (in1 * in2); m++) for (let i = 0; i < in1; i++) {
        const factor = right(row).subarray(m * in2 * rank, (m + 1) * in2 * rank), turned = new Float64Array(in2 * rank);
        factor.forEach((value, k) => { turned[(k % rank) * in2 + Math.floor(k / rank)] = value; });
        multiply(left(row), (m * in1 + i) * rank, turned, data, row * dim + (m * in1 + i) * in2, in2);
      }
    } else {
      const bases = Float64Array.from(await artifact.tensor(`${table}.bases`)), weights = await rowsOf(`${table}.weights`, ids);
      for (let row = 0; row < n; row++) multiply(weights(row), 0, bases, data, row * dim, dim);
    }
    return { shape: [n, ...shape, ...pairs], data };
  };
  return artifact;
}
