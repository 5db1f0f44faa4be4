"""What notebooks show of real objects, the cell magic, and the notebooks among the examples."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import pycontainer as pc
from pycontainer import aio
from pycontainer.errors import ContainerFailed, InvalidInput, InvalidOption
from pycontainer.integrations.jupyter import plot, run_cell

pytestmark = pytest.mark.needs("root", "overlay")

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def elements(markup: str) -> set[str]:
    """Of markup that is well-formed: nothing in it is left to a browser's guesses."""
    return {element.tag for element in ET.fromstring(f"<all>{markup}</all>").iter()}


SAFE = set("all div b span table tr td th pre svg g title rect text path polyline".split())


def test_cards_show_what_there_is_and_run_nothing_of_it(engine: pc.Engine, busybox: pc.Image) -> None:
    hostile = busybox.label({"evil": HOSTILE}).cmd(["echo", HOSTILE]).tag("evil:1")
    with pc.Network.create("shown", labels={"evil": HOSTILE}, engine=engine) as network:
        volume = pc.Volume.create("shown", labels={"evil": HOSTILE}, engine=engine)
        script = f"echo '{HOSTILE}'; printf '\\033]0;owned\\007\\302\\233'; while :; do :; done"
        with pc.Container(
            hostile, ["sh", "-c", script], name="shown", network="shown", labels={"own": HOSTILE},
            ports={80: None}, volumes=["shown:/data"], wait=pc.wait.log("script"), engine=engine,
        ) as box:  # fmt: skip
            looks = [look for look, _ in zip(box.stats_stream(0.02), range(3), strict=False)]
            cards = {
                "image": hostile._repr_html_(),
                "container": box._repr_html_(),
                "network": network._repr_html_(),
                "volume": volume._repr_html_(),
                "stats": looks[-1]._repr_html_(),
                "plot": plot(looks)._repr_html_(),
                "mirror": aio.Container._over(box)._repr_html_(),
            }
        volume.remove()
    for name, card in cards.items():
        assert elements(card) <= SAFE, name
        assert "\x1b" not in card
        assert "\x9b" not in card
    for name in ("image", "container", "network", "volume"):
        assert "&lt;script&gt;" in cards[name], name
    for shown in ("running", "127.0.0.1:", "CPU", "memory", "evil:1"):
        assert shown in cards["container"], shown
    assert ">shown<" in cards["network"]
    assert "shown" in cards["volume"]
    ended = pc.Container.create(busybox, ["false"], engine=engine)
    ended.start()
    ended.wait(20)
    assert "exited with code 1" in ended._repr_html_()
    ended.remove()
    hostile.remove(force=True)


def test_a_cell_runs_in_a_container_and_its_output_is_shown(
    engine: pc.Engine, busybox: pc.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "busybox --memory 64m -e WHO=world env=OTHER=1 user=1000 --out kept"
    result, name = run_cell(line, "echo hello $WHO $OTHER; id -u; echo odd >&2; exit 3", engine=engine)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("hello world 1\n1000\n", "odd\n")
    assert (result.exit_code, result.text, name) == (3, shown.out, "kept")
    with pytest.raises(ContainerFailed):
        result.check()
    assert run_cell("busybox wc -c", "12345", engine=engine)[0].text == "5\n"
    capsys.readouterr()
    assert pc.Container.list(all=True, engine=engine) == []


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("", InvalidInput, "name an image"),
        ("--memroy 1g busybox", InvalidInput, "--memroy"),
        ("busybox --memory", InvalidInput, "needs a value"),
        ("busybox --out 1x", InvalidInput, "no name of a variable"),
        ("busybox --memory much", InvalidOption, "memory"),
        ("localhost:1/nothing", Exception, "nothing"),
    ],
)
def test_a_magic_line_that_means_nothing_says_why(
    engine: pc.Engine, busybox: pc.Image, line: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_cell(line, "true", engine=engine)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.no_oracle  # the kernel is another process, with a store of its own
def test_a_notebook_of_the_examples_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAINER_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []  # they are made when it is run
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    found: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = "".join(output["data"].get("text/html", "") for output in found if "data" in output)
    assert shown.count("<svg") > 5
    assert "RUN echo step one" in shown
    printed = "".join(output.get("text", "") for output in found if output["output_type"] == "stream")
    assert "hello from a container" in printed
    assert "awaited" in printed
