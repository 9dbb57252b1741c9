"""Manifests and lock files of every kind: what is read from them, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.analysis.dependencies import Package, inventory
from services.worker.analysis.manifests import golang, java, javascript, python, rust

FILES = {
    "requirements.txt": """\
# comment
Requests[security]==2.19.0 ; python_version > "3" \\
    --hash=sha256:00 \\
    --hash=sha256:11
-r other.txt
-e git+https://example.com/x.git#egg=x
django>=4,<5  # a range
Zope.Interface===5.0
star==1.*
pip @ https://example.com/pip.zip
https://example.com/nameless.zip
not a requirement at all!
""",
    "app/pyproject.toml": """\
[project]
dependencies = [
    "django>=4",
    "flask==3.0.0",
]
[project.optional-dependencies]
fast = ["orjson"]
[dependency-groups]
dev = ["pytest", {include-group = "x"}]
[tool.poetry.dependencies]
python = "^3.11"
rich = "13.7.0"
[tool.poetry.group.dev.dependencies]
black = {version = "^24", optional = true}
""",
    "poetry.lock": """\
[[package]]
name = "attrs"
version = "23.2.0"

[[package]]
name = "ours"
version = "0.1"
[package.source]
type = "directory"
url = "../ours"
""",
    "uv/uv.lock": """\
[[package]]
name = "me"
source = { virtual = "." }
[[package]]
name = "Jinja2"
version = "3.1.4"
source = { registry = "https://example.com" }
""",
    "package.json": '{"dependencies": {"lodash": "^4.17.0", "left-pad": "1.3.0", "own": "file:../own"}}',
    "package-lock.json": """\
{"lockfileVersion": 3, "packages": {
  "": {"name": "me", "version": "1.0.0"},
  "packages/own": {"version": "1.0.0"},
  "node_modules/own": {"resolved": "packages/own", "link": true},
  "node_modules/lodash": {
    "version": "4.17.4"
  },
  "node_modules/a/node_modules/@scope/b": {
    "version": "2.0.0"
  },
  "node_modules/alias": {"name": "real", "version": "3.0.0"}
}}
""",
    "old/package-lock.json": (
        '{"lockfileVersion": 1, "dependencies": {"x": {"version": "1.0.0",'
        ' "dependencies": {"y": {"version": "2.0.0"}}}, "g": {"version": "git+ssh://h/x.git#1"}}}'
    ),
    "yarn/yarn.lock": """\
# yarn lockfile v1

"@babel/core@^7.0.0", "@babel/core@^7.1.0":
  version "7.2.0"
  dependencies:
    debug "^4"

debug@^4:
  version "4.3.4"
""",
    "go.mod": """\
module example.com/me

go 1.21

require golang.org/x/text v0.3.5
require (
	github.com/a/b v1.2.3 // indirect
	github.com/old/c v1.0.0
	github.com/local/d v1.0.0
)

replace github.com/old/c v1.0.0 => github.com/new/c v1.1.0
replace github.com/local/d => ./d
""",
    "Cargo.lock": """\
[[package]]
name = "me"
version = "0.1.0"

[[package]]
name = "serde"
version = "1.0.200"
source = "registry+https://github.com/rust-lang/crates.io-index"
""",
    "lib/Cargo.toml": """\
[dependencies]
serde = "1"
rand = { version = "=0.8.5", package = "real-rand" }
own = { path = "../own" }
""",
    "pom.xml": """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <properties><jackson>2.9.8</jackson><spring.version>${base}.1</spring.version><base>5.3</base></properties>
  <dependencyManagement><dependencies><dependency>
    <groupId>org.managed</groupId><artifactId>m</artifactId><version>1.1</version>
  </dependency></dependencies></dependencyManagement>
  <dependencies>
    <dependency>
      <groupId>com.fasterxml.jackson.core</groupId>
      <artifactId>jackson-databind</artifactId>
      <version>${jackson}</version>
    </dependency>
    <dependency><groupId>org.managed</groupId><artifactId>m</artifactId></dependency>
    <dependency><groupId>s</groupId><artifactId>spring</artifactId><version>${spring.version}</version></dependency>
    <dependency><groupId>r</groupId><artifactId>ranged</artifactId><version>[1,2)</version></dependency>
    <dependency><groupId>u</groupId><artifactId>unknown</artifactId><version>${from.parent}</version></dependency>
  </dependencies>
</project>
""",
    "node_modules/z/package.json": '{"dependencies": {"foreign": "1.0.0"}}',
}


def written(folder: Path, files: dict[str, str]) -> list[Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [folder / name for name in files]


def test_every_kind_of_file_gives_its_packages(tmp_path: Path) -> None:
    found = inventory(tmp_path, written(tmp_path, FILES))
    assert found.unread == {}
    assert {(one.ecosystem, one.name, one.version) for one in found.packages} == {
        ("PyPI", "requests", "2.19.0"),
        ("PyPI", "django", None),
        ("PyPI", "zope-interface", "5.0"),
        ("PyPI", "star", None),
        ("PyPI", "pip", None),
        ("PyPI", "flask", "3.0.0"),
        ("PyPI", "orjson", None),
        ("PyPI", "pytest", None),
        ("PyPI", "rich", None),  # Poetry reads a bare version as a range
        ("PyPI", "black", None),
        ("PyPI", "attrs", "23.2.0"),
        ("PyPI", "jinja2", "3.1.4"),
        ("npm", "lodash", "4.17.4"),
        ("npm", "left-pad", "1.3.0"),
        ("npm", "@scope/b", "2.0.0"),
        ("npm", "real", "3.0.0"),
        ("npm", "x", "1.0.0"),
        ("npm", "y", "2.0.0"),
        ("npm", "g", None),
        ("npm", "@babel/core", "7.2.0"),
        ("npm", "debug", "4.3.4"),
        ("Go", "golang.org/x/text", "0.3.5"),
        ("Go", "github.com/a/b", "1.2.3"),
        ("Go", "github.com/new/c", "1.1.0"),
        ("crates.io", "serde", "1.0.200"),
        ("crates.io", "real-rand", "0.8.5"),
        ("Maven", "com.fasterxml.jackson.core:jackson-databind", "2.9.8"),
        ("Maven", "org.managed:m", "1.1"),
        ("Maven", "s:spring", "5.3.1"),
        ("Maven", "r:ranged", None),
        ("Maven", "u:unknown", None),
    }
    places = {one.name: one.places for one in found.packages}
    assert places["requests"] == [("requirements.txt", 2)]
    assert places["zope-interface"] == [("requirements.txt", 8)]
    assert places["django"] == [("requirements.txt", 7), ("app/pyproject.toml", 3)]
    assert places["lodash"] == [("package-lock.json", 5)]
    assert places["serde"] == [("Cargo.lock", 6)]
    assert places["com.fasterxml.jackson.core:jackson-databind"] == [("pom.xml", 9)]
    assert places["golang.org/x/text"] == [("go.mod", 5)]


@pytest.mark.parametrize(
    ("package", "purl"),
    [
        (Package("PyPI", "requests", "2.19.0"), "pkg:pypi/requests@2.19.0"),
        (Package("npm", "@scope/b", "2.0.0"), "pkg:npm/%40scope/b@2.0.0"),
        (Package("Go", "golang.org/x/text", "0.3.5"), "pkg:golang/golang.org/x/text@v0.3.5"),
        (Package("Maven", "a.b:c", "1"), "pkg:maven/a.b/c@1"),
        (Package("crates.io", "serde", None), "pkg:cargo/serde"),
    ],
)
def test_package_urls_are_those_of_the_specification(package: Package, purl: str) -> None:
    assert package.purl == purl


def test_broken_and_hostile_files_cost_only_themselves(tmp_path: Path) -> None:
    bomb = "<!DOCTYPE p [" + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9)) + "]><p>&a9;</p>"
    broken = {
        "a/poetry.lock": "[[package]",
        "b/uv.lock": 'package = "text"',
        "c/Cargo.lock": "[[package]]\nversion = 1\nsource = 'x'\n",
        "d/package-lock.json": '{"packages": {"node_modules/x": "text"}}',
        "e/package-lock.json": "[" * 100_000,
        "f/pom.xml": bomb,
        "g/poetry.lock": "a = " + "[" * 50_000,
        "h/package.json": '{"dependencies": ["x"]}',
    }
    harmless = {
        "i/package.json": '{"dependencies": {"": "1.0.0", "a b": "1.0.0", "new\\nline": "1.0.0", "n": 5}}',
        "j/go.mod": "require (\n\n)\nnonsense => \n)",
        "k/requirements.txt": "good==1.0\n\\\n",
    }
    found = inventory(tmp_path, written(tmp_path, broken | harmless))
    assert set(found.unread) == set(broken)
    assert [(one.name, one.version) for one in found.packages] == [("good", "1.0")]


@given(st.text(max_size=200))
def test_line_formats_read_any_text(text: str) -> None:
    for reader in (python.requirements, golang.go_mod, javascript.yarn_lock):
        for one in reader(text):
            assert one.line >= 1


@given(st.text(alphabet="<>/={}[]\"'abc \n&!", max_size=100))
def test_structured_formats_refuse_what_they_cannot_read_by_the_errors_that_the_inventory_knows(text: str) -> None:
    for reader in (python.toml_lock, javascript.package_lock, rust.cargo_toml, java.pom):
        try:
            list(reader(text))
        except (ValueError, SyntaxError, RecursionError, KeyError, TypeError, AttributeError):
            continue
