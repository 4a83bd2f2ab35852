from __future__ import annotations

import platform
from importlib.metadata import version

import pytest

import sc_c2s as c2s
from sc_c2s._session import PACKAGES, info_text


@pytest.fixture(scope="module")
def text() -> str:
    return info_text()


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_info_gives_the_version_of_every_package(name, text):
    lines = [line.split() for line in text.splitlines()]
    assert [words[1] for words in lines if len(words) == 2 and words[0] == name] == [version(PACKAGES[name])]


def test_info_names_python_platform_and_devices(text):
    assert f"Python {platform.python_version()}" in text
    assert platform.platform() in text
    assert "Devices: " in text


def test_a_missing_package_is_said_so(monkeypatch):
    monkeypatch.setitem(PACKAGES, "no_such_package", "no-such-package")
    assert "no_such_package missing" in " ".join(info_text().split())


def test_session_info_lists_what_the_caller_imported(capsys):
    namespace = {"c2s": c2s, "pytest": pytest}
    assert eval("c2s.session_info()", namespace) is None
    printed = capsys.readouterr().out
    assert pytest.__version__ in printed
    assert version("sc-c2s") in printed


def test_session_info_writes_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    c2s.session_info()
    assert list(tmp_path.iterdir()) == []
