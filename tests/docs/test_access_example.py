"""examples/access.py does what the README says, against the real server."""

from pathlib import Path

from tests.docs.test_quickstart import ROOT, run, serving


def test_the_example_shows_what_a_user_may_read_and_what_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home, tmp_path / "log") as port:
        done = run([str(ROOT / "examples" / "access.py")], home, port)
    assert done.returncode == 0, done.stderr
    assert "-mine'\n" in done.stdout
    assert "the other secret: AuthFailure.UnauthorizedOperation: " in done.stdout
    assert done.stdout.count("value of") == 1
    assert "are gone" in done.stdout


def test_the_example_says_what_to_do_without_a_server(tmp_path: Path) -> None:
    done = run([str(ROOT / "examples" / "access.py")], tmp_path, 1)
    assert done.returncode == 1
    assert "start `make run` first" in done.stderr
