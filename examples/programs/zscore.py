"""How far each feature of a flow lies from its mean, in standard deviations.  It needs pyarrow and nothing else."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc


def read(name):
    with pa.OSFile(str(folder / name), "rb") as file:
        return pa.ipc.open_file(file).read_all()


def moments(table, floor):
    numbers = table.drop_columns(["id"])
    return {
        name: [pc.mean(numbers[name]).as_py(), max(pc.stddev(numbers[name]).as_py(), floor)]
        for name in numbers.column_names
    }


def fit():
    (folder / "model" / "moments.json").write_text(json.dumps(moments(read("train.arrow"), job["params"]["floor"])))


def calibrate():
    found = moments(read("calibration.arrow"), job["params"]["floor"])
    (folder / "calibration" / "moments.json").write_text(json.dumps(found))


def score():
    calibrated = folder / "calibration" / "moments.json"
    known = json.loads((calibrated if calibrated.exists() else folder / "model" / "moments.json").read_text())
    flows = read("flows.arrow")
    far = [pc.abs(pc.divide(pc.subtract(flows[name], mean), std)) for name, (mean, std) in known.items()]
    total = far[0]
    for one in far[1:]:
        total = pc.add(total, one)
    worst = pc.max_element_wise(*far)
    scores = pa.table({"id": flows["id"], "mean": pc.divide(total, float(len(far))), "worst": worst})
    with pa.OSFile(str(folder / "scores.arrow"), "wb") as file, pa.ipc.new_file(file, scores.schema) as writer:
        writer.write_table(scores)


folder = Path(sys.argv[2])
job = json.loads((folder / "job.json").read_text())
{"fit": fit, "calibrate": calibrate, "score": score}[sys.argv[1]]()
