"""Open reports in a headless browser and look whether they are as they must be.

No console error, no request to any network, every figure drawn, nothing to scroll sideways at 400 pixels, tables that
sort, a theme that turns, a print, and no serious fault that axe-core finds.

Without FILEs it makes two reports first: of the digits, the whole job, which takes a minute or two; and of ViT-B/16
with the times measured in profiles/ and the accuracies published for CIFAR-100. Chromium must be on the path, and
playwright and axe-playwright-python be installed (the extra `dev` has both).

    python scripts/check_report.py --screenshots /tmp/screens
    python scripts/check_report.py exitsearch-out/report.html verify.html
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures

from exitsearch.cli.main import main as exitsearch
from exitsearch.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VIT = ROOT / "profiles/amd-epyc-2-cores/vit_base_patch16_384__cpu__fp32__bs1__eager.json"
# As in scripts/readme_figure.py: 10 and 80 of the 55.7 GMACs that the whole backbone takes.
VIT_SEARCH = ["--outcomes", "published:mevit-cifar100", "--budget-dist", "uniform:17.95%,143.6%", "--no-guard"]
# Ground and width in pixels.
VIEWS = (("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400))
# Faults that axe-core calls so make a page fail; the others are told.
GRAVE = ("serious", "critical")
_SECONDS = 60.0

# Whether Plotly has drawn a chart: some mark of a trace that is not hidden has an extent.
_DRAWN = """chart => [...chart.querySelectorAll(
    '.scatterlayer .trace path, .barlayer .point path, .heatmaplayer image, .heatlayer image')]
    .some(mark => { const box = mark.getBoundingClientRect(); return box.width + box.height > 0; })"""
# A click on a heading with numbers: the column's numbers from the largest to the smallest, then the other way round.
_SORTED = """table => {
    const heads = [...table.tHead.rows[0].cells];
    const at = heads.findIndex(head => head.classList.contains('number'));
    if (at < 0 || table.tBodies[0].rows.length < 2) return 'short';
    const read = () => [...table.tBodies[0].rows].map(row => row.cells[at].dataset.value)
        .filter(value => value !== undefined).map(Number);
    const inOrder = (found, sign) => found.every((n, i) => i === 0 || sign * (n - found[i - 1]) >= 0);
    const button = heads[at].querySelector('button');
    button.click();
    if (heads[at].getAttribute('aria-sort') !== 'descending' || !inOrder(read(), -1)) return 'not descending';
    button.click();
    if (heads[at].getAttribute('aria-sort') !== 'ascending' || !inOrder(read(), 1)) return 'not ascending';
    return 'sorted';
}"""


@dataclass
class Found:
    """What one page showed.

    Attributes:
        faults: sentences; empty where all is as it must be.
        told: faults of accessibility that are neither serious nor critical.
        charts: figures that were drawn, in each view.
        tables: tables that were sorted.
        rules: of axe-core that passed, over all views.
        pictures: screenshots that were taken.
    """

    faults: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    charts: int = 0
    tables: int = 0
    rules: int = 0
    pictures: list[str] = field(default_factory=list)


def chromium() -> str:
    """The browser on the path.

    Raises:
        UnavailableError: it, or what drives it, is missing.
    """
    for module, package in (("playwright", "playwright"), ("axe_playwright_python", "axe-playwright-python")):
        if find_spec(module) is None:
            raise UnavailableError(f"{package} is not installed; pip install {package}")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise UnavailableError("no Chromium is on the path; install it (Debian: apt-get install chromium)")
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser for several pages."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers have no user namespaces for its sandbox; the pages are our own.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


def check(
    opened: Browser,
    path: Path,
    *,
    screenshots: Path | None = None,
    views: Sequence[tuple[str, int]] = VIEWS,
) -> Found:
    """Look at one report in every view.

    Args:
        views: ground (`light` or `dark`) and width in pixels.
        screenshots: folder for a picture of each view, and a print; None: none are taken.
    """
    found = Found()
    for ground, width in views:
        page = opened.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if ground == "dark" else "light"
        )
        with contextlib.closing(page):
            _look(page, path, found, view=f"{ground} {width}", screenshots=screenshots)
    return found


def _look(page: Page, path: Path, found: Found, *, view: str, screenshots: Path | None) -> None:
    def fault(what: str) -> None:
        found.faults.append(f"{path.name}, {view}: {what}")

    asked: list[str] = []
    page.on("console", lambda line: fault(f"console: {line.text}") if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: fault(f"error: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    address = path.resolve().as_uri()
    page.goto(address)
    charts = page.locator("[data-figure]").all()
    if charts:
        page.wait_for_selector("html[data-drawn]", timeout=1000 * _SECONDS)
    undrawn = [chart.get_attribute("data-figure") for chart in charts if not chart.evaluate(_DRAWN)]
    if undrawn:
        fault(f"not drawn: {', '.join(map(str, undrawn))}")
    found.charts = len(charts) - len(undrawn)
    if screenshots is not None:
        _photograph(page, path, found, view=view, folder=screenshots)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if wide > 0:
        fault(f"{wide} pixels are to be scrolled to sideways")
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    _check_access(page, found, fault)
    sorts = [table.evaluate(_SORTED) for table in page.locator("table").all()]
    if wrong := [word for word in sorts if word.startswith("not")]:
        fault(f"{len(wrong)} tables are not sorted by a click: {wrong[0]}")
    found.tables = sorts.count("sorted")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    if page.evaluate("getComputedStyle(document.body).backgroundColor") == before:
        fault("the ground does not change with a click")
    if foreign := [url for url in asked if url != address and not url.startswith(("data:", "blob:"))]:
        fault(f"asked for {foreign[0]}")


def _check_access(page: Page, found: Found, fault: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    result = Axe().run(page).response
    found.rules += len(result["passes"])
    for violation in result["violations"]:
        where = violation["nodes"][0]["target"]
        said = (
            f"axe {violation['id']} ({violation['impact']}): {violation['help']}, {len(violation['nodes'])} at {where}"
        )
        if violation["impact"] in GRAVE:
            fault(said)
        else:
            found.told.append(said)


def _photograph(page: Page, path: Path, found: Found, *, view: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = path.stem if path.stem != "report" else path.parent.name
    picture = folder / f"{name}_{view.replace(' ', '_')}.png"
    page.screenshot(path=picture, full_page=True)
    found.pictures.append(str(picture))
    if view == "dark 1280":  # on paper it must be light all the same
        sheet = folder / f"{name}_print.pdf"
        page.pdf(path=sheet, format="A4", print_background=True)
        found.pictures.append(str(sheet))


def make(folder: Path) -> list[Path]:
    """The two reports.

    Raises:
        RuntimeError: a search failed.
    """
    work, here = folder / "digits", Path.cwd()
    work.mkdir(parents=True)
    os.chdir(work)
    try:
        for name, more in {
            "digits": ["--budget-dist", "uniform:10%,100%"],
            "vit_base": ["--profile", str(VIT), *VIT_SEARCH],
        }.items():
            status = exitsearch(["search", *more, "--out", str(folder / name)])
            if status:
                raise RuntimeError(f"exitsearch search ended with {status} for {name}")
    finally:
        os.chdir(here)
    return [folder / name / "report.html" for name in ("digits", "vit_base")]


def work(options: argparse.Namespace) -> int:
    if missing := [file for file in options.files if not file.is_file()]:
        raise InputError(f"{missing[0]}: no such file; name reports that exitsearch wrote, or none to have two made")
    chromium()
    with tempfile.TemporaryDirectory() as folder, browser() as opened:
        files = options.files or make(Path(folder))
        pages = {str(file): check(opened, file, screenshots=options.screenshots) for file in files}
    for name, found in pages.items():
        views = ", ".join(f"{ground} {width}" for ground, width in VIEWS)
        print(f"{name}: {found.charts} figures and {found.tables} sorted tables in each of {views}")
        print(f"  {found.rules} rules of axe-core hold; {len(found.faults)} faults, {len(found.told)} lesser ones")
        for said in (*found.faults, *found.told, *found.pictures):
            print(f"  {said}")
    faults = sum(len(found.faults) for found in pages.values())
    figures.write(options, {"pages": {name: vars(found) for name, found in pages.items()}, "faults": faults})
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="reports (default: two are made)")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="take a picture of every view, and a print")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
