"""Every block of Python in the README and in docs/ runs, on a database of its own."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

FENCED = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>```+|~~~+)(?P<language>[^\n`]*)\n(?P<code>.*?)^[ ]*(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield what stands behind each fence of *page* that speaks of Python, and the code, at its lines in the page."""
    text = page.read_text(encoding="utf-8")
    for fenced in FENCED.finditer(text):
        language = fenced["language"].strip()
        if re.search(r"\bpy", language):
            lines_above = text.count("\n", 0, fenced.start("code"))
            yield language, "\n" * lines_above + textwrap.dedent(fenced["code"])


def compiled(code: str, page: Path) -> CodeType:
    found: CodeType = compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


PAGES_WITH_CODE = [page for page in PAGES if any(blocks(page))]


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[str]:
    """The DSN of an empty database."""
    database = f"docs_{uuid4().hex[:12]}"
    server = await asyncpg.connect(dsn)
    try:
        await server.execute(f"CREATE DATABASE {database}")
        yield urlsplit(dsn)._replace(path=f"/{database}").geturl()
        await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
    finally:
        await server.close()


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """An importable place for a page's names, because annotations are looked up in a class's module."""
    module = ModuleType(f"page_{uuid4().hex[:12]}")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


async def run(code: CodeType, namespace: dict[str, object]) -> None:
    result: object = eval(code, namespace)  # noqa: S307  our own pages; unlike exec, it hands back what must be awaited
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name)
async def test_the_code_on_a_page_runs(page: Path, module: ModuleType, database: str) -> None:
    namespace = vars(module)
    namespace["dsn"] = database

    for _, code in blocks(page):
        await run(compiled(code, page), namespace)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name)
def test_no_block_is_fenced_so_that_it_would_not_run(page: Path) -> None:
    languages = {language for language, _ in blocks(page)}

    assert languages == {"python"}


def test_a_block_may_await_at_its_top_and_names_its_own_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("One.\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\n```\n\n  ~~~python\n  one = 1\n  ~~~\n")

    found = [compiled(code, page) for _, code in blocks(page)]

    assert [bool(code.co_flags & inspect.CO_COROUTINE) for code in found] == [True, False]
    assert [max(line for *_, line in code.co_lines() if line) for code in found] == [5, 9]


def test_console_and_plain_blocks_are_not_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ make demo\n```\n\n```\n:: text ::\n```\n\n```sql\nSELECT 1\n```\n")

    assert not list(blocks(page))
