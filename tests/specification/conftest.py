"""The subjects that are compared with the specification."""

from __future__ import annotations

import pytest

from runtime import native
from tests.specification.subject import Filtering, Libplif, PythonProduct, Subject

needs_library = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)


@pytest.fixture(scope="session", params=[PythonProduct, pytest.param(Libplif, marks=needs_library)])
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.param()


@pytest.fixture(scope="session", params=[PythonProduct])
def filtering(request: pytest.FixtureRequest) -> Filtering:
    return request.param()
