"""Executes the notebooks: NN_topic.py -> NN_topic.ipynb, on the results in mlruns or ABLATIONS_MLRUNS.

A notebook whose study has not been run says what to run; its last executed copy stays as it is.
"""

import base64
import io
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).resolve().parent
COLOURS = 64
"""Of a figure in an executed copy: enough for the house style, and a third of the size."""


def execute(source: Path, folder: Path) -> str | None:
    """Execute a notebook from its text and write the copy into a folder; return what is missing for it, or None."""
    notebook = jupytext.read(source)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(source.parent)}})
    client.extra_arguments = ["--log-level=ERROR"]
    try:
        client.execute()
    except CellExecutionError as error:
        if error.ename == "SystemExit":
            return str(error.evalue)
        raise
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, folder / f"{source.stem}.ipynb")
    return None


def _smaller(png: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main(names: list[str]) -> int:
    """Execute these notebooks, or all of them."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    if folder := os.environ.get("ABLATIONS_MLRUNS"):
        os.environ["ABLATIONS_MLRUNS"] = str(Path(folder).expanduser().resolve())  # a notebook runs in another folder
    # tqdm says so in every notebook, and where it is installed.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:IProgress")))
    missing, sources = 0, sorted(HERE.glob("[0-9][0-9]_*.py"))
    if unknown := set(names) - {source.stem for source in sources}:
        known = ", ".join(source.stem for source in sources)
        print(f"error: {min(unknown)!r} is no notebook; there are: {known}", file=sys.stderr)
        return 2
    for source in sources:
        if names and source.stem not in names:
            continue
        begun = time.monotonic()
        why = execute(source, HERE)
        missing += why is not None
        print(f"{source.stem}: {why or f'executed in {time.monotonic() - begun:.0f} s'}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
