// Write the rows of every table of an artifact as float64: `node read_rows.mjs READER ARTIFACT FOLDER [ID ...]`.
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [reader, path, folder, ...ids] = process.argv.slice(2);
const { openArtifact } = await import(pathToFileURL(reader));
const file = openSync(path);
let bytesRead = 0;
const range = async (begin, end) => {
  const part = new Uint8Array(end - begin);
  const found = readSync(file, part, 0, part.length, begin);
  bytesRead += found;
  return part.subarray(0, found);
};
const told = { tables: {} };
try {
  const artifact = await openArtifact(ids.length ? range : readFileSync(path));
  told.labels = {};
  for (const [number, table] of Object.keys(artifact.tables).entries()) {
    const { shape, data } = await artifact.rows(table, ids.length ? ids.map(Number) : null);
    writeFileSync(`${folder}/${number}.bin`, Float64Array.from(data));
    told.tables[table] = { shape, file: `${number}.bin` };
    if (artifact.names.includes(`${table}.labels`)) told.labels[table] = await artifact.labels(table);
  }
} catch (error) {
  told.error = error.message;
}
console.log(JSON.stringify({ ...told, bytesRead }));
closeSync(file);
