"""Is our code written for the interface that TensorRT has? Asked of the real Python bindings, without TensorRT's libraries.

The bindings are small wheels; imported beside libraries that do nothing (shim.c) they tell every class, function and argument
they have, which pybind11-stubgen writes down as stubs. mypy then checks our files against them. Our functions take the module
as an argument (`trt: ModuleType`), of which mypy knows nothing; so that argument is renamed in a copy of the file, and `trt` is
imported there.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = (
    "runtime/engines/tensorrt_plan/module.py",
    "runtime/engines/tensorrt_plan/engine.py",
    "plif_export/targets/tensorrt_plan/build.py",
    "plif_export/targets/tensorrt_plan/target.py",
)
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")

# What pybind11 does and a stub does not say: a plan is a buffer, sizes may be given as any sequence, and be looped over.
ADDITIONS = {
    "IHostMemory": "def __buffer__(self, flags: int, /) -> memoryview: ...",
    "Dims": "def __iter__(self) -> collections.abc.Iterator[int]: ...",
}


def stubs_of_wheel(wheel: Path, folder: Path) -> Path:
    """Stubs of the bindings in a wheel, as a package `tensorrt` in a folder for MYPYPATH."""
    major = wheel.name.split("-")[1].split(".")[0]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "wheel")
    libraries = folder / "lib"
    libraries.mkdir()
    compiler = shutil.which("cc") or shutil.which("gcc") or "clang"
    first = libraries / f"lib{LIBRARIES[0]}.so.{major}"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", first, Path(__file__).with_name("shim.c")], check=True)
    for name in LIBRARIES[1:]:
        shutil.copy(first, libraries / f"lib{name}.so.{major}")
    environment = {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(folder / "wheel")}
    return _stubs("tensorrt_bindings.tensorrt", folder, environment)


def stubs_of_rtx(folder: Path) -> Path:
    """The same of TensorRT-RTX, whose libraries are there."""
    return _stubs("tensorrt_rtx_bindings.tensorrt_rtx", folder, {})


def _stubs(module: str, folder: Path, environment: dict[str, str]) -> Path:
    command = [sys.executable, "-m", "pybind11_stubgen", module, "-o", str(folder / "raw"), "--ignore-all-errors"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    text = (folder / "raw" / f"{module.replace('.', '/')}.pyi").read_text()
    text = re.sub(r"(?<=[ (])in: ", "in_: ", text)  # pybind11 allows an argument of this name, Python does not
    tree = _parsed(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "bool" and isinstance(node.ctx, ast.Load):
            node.id = "builtins.bool"  # the module has a `bool` of its own, which is a data type
        if isinstance(node, ast.FunctionDef):
            for argument in node.args.args:
                if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Dims":
                    argument.annotation = ast.parse("Dims | collections.abc.Sequence[int]", mode="eval").body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Expr(ast.Constant(...))
        if isinstance(node, ast.ClassDef) and node.name in ADDITIONS:
            node.body += ast.parse(ADDITIONS[node.name]).body
    package = folder / "stubs" / "tensorrt"
    package.mkdir(parents=True)
    (package / "__init__.pyi").write_text(
        f"# mypy: ignore-errors\n{ast.unparse(tree)}\nimport builtins\n__version__: str\n"
    )
    return folder / "stubs"


def _parsed(text: str) -> ast.Module:
    """The stubs, with a signature that Python does not allow (a default before none) replaced by one that takes anything."""
    lines = text.splitlines()
    for _ in range(20):
        try:
            return ast.parse("\n".join(lines))
        except SyntaxError as error:
            at = (error.lineno or 1) - 1
            lines[at] = re.sub(
                r"def (\w+)\(.*", r"def \1(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:", lines[at]
            )
    raise SyntaxError("the stubs cannot be read")


def with_module(source: str) -> str:
    """A file of ours in which `trt` is the module, not an argument or a variable."""

    class ModuleRenamer(ast.NodeTransformer):
        def visit_arg(self, node: ast.arg) -> ast.arg:
            node.arg = "trt_given" if node.arg == "trt" else node.arg
            return node

        def visit_Name(self, node: ast.Name) -> ast.Name:
            if node.id == "trt" and isinstance(node.ctx, ast.Store):
                node.id = "trt_given"
            return node

    tree = ModuleRenamer().visit(ast.parse(source))
    after_future = next(i for i, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)) + 1
    tree.body[after_future:after_future] = ast.parse("import tensorrt as trt").body
    return ast.unparse(tree)


def complaints(stubs: Path, folder: Path, sources: dict[str, str] | None = None) -> list[str]:
    """What mypy says about our files, given the stubs: the messages without places, sorted. `sources` replaces files."""
    from mypy import api

    checked = []
    for name in FILES:
        source = (sources or {}).get(name) or (REPOSITORY / name).read_text()
        copy = folder / f"checked_{name.replace('/', '_')}"
        copy.write_text(with_module(source))
        checked.append(str(copy))
    settings = folder / "mypy.ini"
    settings.write_text(
        "[mypy]\ncheck_untyped_defs = true\nfollow_imports = skip\nignore_missing_imports = true\n"
        f"mypy_path = {stubs}:{REPOSITORY}\ncache_dir = {folder.parent / 'cache'}\n"
        "[mypy-tensorrt.*]\nfollow_imports = normal\n"
    )
    said, wrong, code = api.run(["--config-file", str(settings), "--no-error-summary", *checked])
    if code not in (0, 1):
        raise RuntimeError(said + wrong)
    found = [line.partition(": error: ")[2] for line in said.splitlines() if ": error: " in line]
    return sorted(line for line in found if "ignore" not in line)
