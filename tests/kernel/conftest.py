"""Fixtures for tests against the kernel under this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.namespace import Privilege, Refused, run_inside
from tests.lacking import lacking

if TYPE_CHECKING:
    from pathlib import Path


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """Run a test that asks for ``inside`` in a child, in namespaces of its own."""
    if "inside" not in pyfuncitem.funcargs:
        return (yield)
    given: Any = pyfuncitem.funcargs["inside"]
    privilege, scratch = given
    pyfuncitem.funcargs["inside"] = scratch
    body = pyfuncitem.obj

    def outside(**arguments: object) -> None:
        try:
            run_inside(privilege, scratch, lambda: body(**arguments))
        except Refused as refused:
            reason = f"no user namespace can be had: {refused}"
            lacking(reason)

    pyfuncitem.obj = outside
    try:
        return (yield)
    finally:
        pyfuncitem.obj = body


@pytest.fixture(params=list(Privilege), ids=str)
def inside(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Privilege, Path]:
    """A test with this argument runs in a mount namespace of its own, and gets an empty directory on a tmpfs there."""
    privilege: Privilege = request.param
    if privilege is Privilege.ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return privilege, scratch
