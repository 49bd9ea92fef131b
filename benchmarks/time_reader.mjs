// Print the seconds of opening a table and of decoding all its rows, the least of several: `READER ARTIFACT RUNS`.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [reader, path, runs] = process.argv.slice(2);
const { openArtifact } = await import(pathToFileURL(reader));
const taken = { open: [], decode: [] };
for (let run = 0; run < Number(runs); run++) {
  const begun = performance.now();
  const artifact = await openArtifact(readFileSync(path));
  const [table] = Object.keys(artifact.tables);
  await artifact.rows(table, [0]);
  const opened = performance.now();
  await artifact.rows(table);
  taken.open.push(opened - begun);
  taken.decode.push(performance.now() - opened);
}
console.log(JSON.stringify({ open: Math.min(...taken.open) / 1e3, decode: Math.min(...taken.decode) / 1e3 }));
