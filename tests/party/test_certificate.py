"""What a party says of its certificate, and when, by a clock that can be set. In real time: tests/test_renewal.py."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from keras_private.net.certificates import create_authority, expires_at, issue
from keras_private.net.identity import Identity
from keras_private.net.roles import Role
from keras_private.party.certificate import CertificateWatch
from tests.conftest import LogLines

PARTY, DAY = Role("party", "server0"), datetime.timedelta(days=1)


class Setting:
    """A certificate of a hundred days, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.folder = folder / "authority", folder / "party"
        create_authority(self.authority)
        self.folder.mkdir()
        self.files = self.issue(100)
        self.log = LogLines()
        self.now = datetime.datetime.now(datetime.UTC)
        self.renewals = 0
        self.watch = CertificateWatch(Identity(self.files), self.log, self.renew, lambda: self.now)

    def issue(self, days: int) -> Any:
        return issue(self.folder, PARTY, days=days, authority=self.authority)

    def renew(self) -> None:
        self.renewals += 1

    def days(self, number: int) -> list[tuple[str, str, str]]:
        """Look every hour for so many days; what is said."""
        self.log.lines.clear()
        for _ in range(24 * number):
            self.now += datetime.timedelta(hours=1)
            self.watch.look()
        return [(level, event, str(fields.get("cause"))) for level, event, fields in self.log.lines]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_a_month_before_and_daily_from_then_on(setting: Setting) -> None:
    assert setting.days(69) == []
    said = setting.days(30)
    assert {(level, event) for level, event, _ in said} == {("warning", "certificate")}
    assert len(said) == 30
    assert "expires in 29 days" in said[0][2]
    assert f"({expires_at(setting.files.cert):%Y-%m-%d}); issue a new one with: keras-private certs" in said[-1][2]
    said = setting.days(3)
    assert [level for level, _, _ in said] == ["error", "error", "error"]
    assert "has expired" in said[0][2]


def test_it_is_said_at_the_start(setting: Setting) -> None:
    setting.now += 95 * DAY
    setting.watch.look()
    assert [event for _, event, _ in setting.log.lines] == ["certificate"]


def test_after_a_renewal_it_is_quiet(setting: Setting) -> None:
    setting.now += 95 * DAY
    setting.watch.look()
    files = setting.issue(365)
    said = setting.days(60)
    assert [(level, event) for level, event, _ in said] == [("info", "certificate reloaded")]
    assert setting.watch.expires == int(expires_at(files.cert).timestamp())


def test_files_of_no_use_are_said_once(setting: Setting) -> None:
    before = setting.watch.expires
    setting.files.cert.write_text("half of it")
    (said,) = setting.days(2)
    assert said[:2] == ("warning", "certificate kept")
    assert "cannot read the certificate" in said[2]
    assert setting.watch.expires == before


def test_what_can_be_renewed_from_here_is_looked_at_daily(setting: Setting) -> None:
    setting.days(10)
    assert setting.renewals == 10
