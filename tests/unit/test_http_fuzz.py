"""schemathesis over the description: no crash, and no answer that is not described."""

import tempfile
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from vkrun.runtime.server.http.app import make_app
from vkrun.runtime.server.http.options import Options
from vkrun.tests.unit.http_serving import served

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
SAVED = tempfile.TemporaryDirectory()  # with a place for slots nothing is refused as not started with
APP = make_app(served(Options(metrics=True, slot_save_path=Path(SAVED.name))))
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, headers={"Host": "localhost"})


@pytest.mark.full
@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_nothing_crashes_and_every_answer_is_described(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"Host": "localhost"}, checks=CHECKS)
