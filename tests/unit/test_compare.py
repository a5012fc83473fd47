"""tools/compare.py: rows of either side, and the table that they come to."""

import json
import subprocess
import sys
from pathlib import Path

from vkrun.tools.compare import Side, name_of, sides_of, table

TOOL = Path(__file__).parents[2] / "tools" / "compare.py"
ROW = {
    "n_prompt": 512,
    "n_gen": 0,
    "n_depth": 0,
    "samples_ts": [100.0, 110.0, 90.0],
    "devices": "card",
    "driver": "d 1",
}


def test_tests_are_named_as_vkrun_names_them() -> None:
    rows = ROW, {"n_gen": 32, "n_seqs": 8}, {"n_gen": 32, "n_depth": 16384, "n_seqs": 1}, {"n_prompt": 8, "n_gen": 2}
    assert [name_of(row) for row in rows] == ["pp512", "tg32 x8", "tg32 @ d16384", "pp8+tg2"]


def test_medians_spread_and_ratios() -> None:
    own, slow, fast = sides_of(["b"], True, "vkrun") + sides_of(["A=x -y", "B=z"], False, "llama.cpp")
    assert (own.name, slow.name, slow.command, fast.command) == ("vkrun", "A", ["x", "-y"], ["z"])
    own.take(f"noise\n{json.dumps(ROW)}\n{json.dumps({**ROW, 'samples_ts': [104.0]})}")
    slow.take('{"pp512": 20, "tg32 x8": 7.5, "load_s": 3}')
    fast.take('{"pp512": 51}')
    head, _, *rows = table([own, slow, fast])
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["test", "vkrun", "A", "B", "vkrun / best"]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[0] == ["pp512", "102.0 ± 11.8%", "20.0 ± 0.0%", "51.0 ± 0.0%", "2.00"]
    assert cells[1] == ["tg32 x8", "not run", "7.5 ± 0.0%", "not run", ""]
    assert own.about == "card, d 1" and isinstance(own, Side)


def test_commands_run_in_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stand_in = tmp_path / "bench.py"
    stand_in.write_text(
        f"import sys; open({str(log)!r}, 'a').write(sys.argv[1]); print('{{\"pp4\": ' + sys.argv[2] + '}}')\n"
        "sys.exit(sys.argv[1] == 'c')\n"
    )
    names = [f"{name}={sys.executable} {stand_in} {name} {rate}" for name, rate in (("a", 30), ("b", 10), ("c", 1))]
    command = [sys.executable, str(TOOL), "-m", "x.gguf", "-p", "4", "--vkrun", names[0], "--peer", names[1]]
    done = subprocess.run([*command, "--peer", names[2]], capture_output=True, text=True, check=True)
    assert log.read_text() == "abcabc" and "c: exit code 1: it said nothing" in done.stderr
    assert done.stdout.splitlines()[2].split("|")[-2].strip() == "3.00"
