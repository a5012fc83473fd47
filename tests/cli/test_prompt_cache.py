"""--prompt-cache FILE and --cache-ram: a run goes on from what an earlier one read."""

from vkrun.tests.cli.running import MODEL, ON_CPU, errors, vkrun

GREEDY = ("--temp", "0", "-n", "5", "--ignore-eos")


def test_a_run_goes_on_from_what_an_earlier_one_read(tmp_path):
    words, path = "import os\nimport sys\n" * 5, str(tmp_path / "session")
    plain = vkrun(MODEL, "-p", words, *ON_CPU, *GREEDY)
    first = vkrun(MODEL, "-p", words, *ON_CPU, *GREEDY, "--stats", "--prompt-cache", path)
    again = vkrun(MODEL, "-p", words, *ON_CPU, *GREEDY, "--stats", "--prompt-cache", path, "--prompt-cache-all")
    assert plain.stdout == first.stdout == again.stdout and first.returncode == again.returncode == 0
    assert not any("cached" in line for line in errors(first))
    assert any("prompt tokens were cached" in line for line in errors(again))
    assert any(line.startswith(f"vkrun: {path}: ") and "read earlier" in line for line in errors(again))


def test_a_file_that_is_only_read_stays_as_it_is(tmp_path):
    path = tmp_path / "session"
    missing = vkrun(MODEL, "-p", "x", *ON_CPU, *GREEDY, "--prompt-cache", str(path), "--prompt-cache-ro")
    assert missing.returncode == 0 and not path.exists()
    vkrun(MODEL, "-p", "x", *ON_CPU, *GREEDY, "--prompt-cache", str(path))
    held = path.read_bytes()
    again = vkrun(MODEL, "-p", "x y z", *ON_CPU, *GREEDY, "--prompt-cache", str(path), "--prompt-cache-ro")
    assert again.returncode == 0 and "read earlier" in again.stderr.decode() and path.read_bytes() == held


def test_a_file_that_is_no_session_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    done = vkrun(MODEL, "-p", "x", *ON_CPU, *GREEDY, "--prompt-cache", str(path))
    assert done.returncode == 1 and "no session that vkrun saved" in errors(done)[-1]
    assert path.read_text() == "mine"


def test_cache_ram_is_a_number_of_mebibytes():
    assert vkrun(MODEL, "-p", "x", *ON_CPU, *GREEDY, "--cache-ram", "0").returncode == 0
    assert vkrun(MODEL, "-p", "x", *ON_CPU, *GREEDY, "-cram", "-2").returncode == 2
