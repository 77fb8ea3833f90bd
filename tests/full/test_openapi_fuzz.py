"""The OpenAPI document of a gateway is true: requests made from it, good ones and bad ones.

Schemathesis makes them. Every answer has a status, a type and a shape that the document states;
what the document forbids is refused; nothing ends in a 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

from wherever_gateway.gateway import Gateway, GatewayOptions

pytestmark = pytest.mark.full

EXAMPLES = 40


def nothing_fails(_context: object, response: schemathesis.Response, _case: object) -> None:
    """A call whose time is too short is told so by 504, which is no failure."""
    assert response.status_code < 500 or response.status_code == 504, response.text


# What the document cannot say: that a string is an image (`positive_data_acceptance`).
CHECKS = (
    nothing_fails,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.unsupported_method,
)


@pytest.fixture(scope="module")
def gateway(
    scales_package, echo_package, letters_package, patches_package, tmp_path_factory
) -> Iterator[str]:
    """A gateway with models that take numbers, text, and images."""
    roots = [each.root for each in (scales_package, echo_package, letters_package, patches_package)]
    home: Path = tmp_path_factory.mktemp("home")
    opened = Gateway(GatewayOptions(tuple(roots), grpc_port=0, http_port=0, home=home))
    opened.start()
    yield f"http://{opened.http}"
    opened.drain()


@pytest.fixture(scope="module")
def operations(gateway: str) -> list[schemathesis.APIOperation]:
    document = schemathesis.openapi.from_url(f"{gateway}/openapi.json")
    every = [each.ok() for each in document.get_all_operations()]
    # what loads and unloads models would change what the others find
    return [each for each in every if not each.path.endswith("load")]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_document_is_true(operations: list[schemathesis.APIOperation], mode) -> None:
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue  # nothing can be wrong there

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        answers()


def test_every_model_of_the_gateway_is_in_it(gateway: str) -> None:
    paths = httpx.get(f"{gateway}/openapi.json").json()["paths"]
    assert {f"/v1/models/{name}:predict" for name in ("scales", "echo", "letters", "patches")} <= {
        *paths
    }
