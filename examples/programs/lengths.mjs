// How unusual the number of a flow's packets and their mean size are, in standard deviations.  It needs apache-arrow.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Table, makeVector, tableFromIPC, tableToIPC } from "apache-arrow";

const [what, folder] = process.argv.slice(2);

// (flows, 2): packets and their mean size
function rows(name) {
  const sizes = tableFromIPC(readFileSync(join(folder, name))).getChild("packet.size");
  return Array.from({ length: sizes.length }, (_, flow) => {
    const own = sizes.get(flow);
    let sum = 0;
    for (let i = 0; i < own.length; i++) sum += Number(own.get(i));
    return [Math.log1p(own.length), own.length ? sum / own.length : 0];
  });
}

if (what === "fit") {
  const found = rows("train.arrow");
  const moments = [0, 1].map((k) => {
    const mean = found.reduce((sum, row) => sum + row[k], 0) / found.length;
    const variance = found.reduce((sum, row) => sum + (row[k] - mean) ** 2, 0) / found.length;
    return [mean, Math.max(Math.sqrt(variance), 1e-3)];
  });
  writeFileSync(join(folder, "model", "moments.json"), JSON.stringify(moments));
} else if (what === "score") {
  const moments = JSON.parse(readFileSync(join(folder, "model", "moments.json"), "utf8"));
  const flows = tableFromIPC(readFileSync(join(folder, "flows.arrow")));
  const scores = Float64Array.from(rows("flows.arrow"), (row) =>
    row.reduce((sum, value, k) => sum + Math.abs(value - moments[k][0]) / moments[k][1], 0),
  );
  const ids = BigUint64Array.from({ length: flows.numRows }, (_, flow) => flows.getChild("id").get(flow));
  const table = new Table({ id: makeVector(ids), score: makeVector(scores) });
  writeFileSync(join(folder, "scores.arrow"), tableToIPC(table, "file"));
}
