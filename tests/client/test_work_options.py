"""Do the options and the fields of a file say what a job wants around its command?"""

from __future__ import annotations

from typing import Any

import click
import msgspec
import pytest

from penstock_client.commands.around import around
from penstock_client.commands.run import _spec, run
from penstock_client.failures import Refused
from penstock_client.specifications import read_jobs
from penstock_client.ulids import new_job_id
from penstock_contracts.jobs import JobSpec
from penstock_contracts.work import Container, Input, Mount, Output, Secret

SUM = "a" * 64


def spec_of(*arguments: str) -> JobSpec:
    """What `penstock run` would submit."""
    with run.make_context("run", [*arguments, "--", "true"]) as context:
        given: dict[str, Any] = dict(context.params)
        command = given.pop("command")
        for name in ("tenant", "as_json", "url", "creds"):
            given.pop(name)
        return _spec(command, **given)


def test_a_container_is_said_in_options() -> None:
    spec = spec_of(
        *("--image", "img:1", "--pull", "always", "--entrypoint", "", "--network", "none"),
        *("--mount", "/a:/b", "--mount", "/c:/d:rw", "--workdir", "/w", "--shm-mib", "64"),
        *("--user", "nobody", "--memory-mib", "100", "--pids-max", "9"),
    )
    assert spec.container == Container(
        image="img:1",
        pull="always",
        entrypoint=(),
        network="none",
        user="nobody",
        workdir="/w",
        mounts=(Mount("/a", "/b"), Mount("/c", "/d", read_only=False)),
        shm_mib=64,
    )
    assert (spec.user, spec.pids_max, spec.fault()) == ("", 9, None)


def test_files_secrets_and_limits_are_said_in_options() -> None:
    spec = spec_of(
        *("--input", f"in/d=object:data@sha256:{SUM}", "--input", "e=file:/data/e"),
        *("--output", "m=object:model", "--output", "n=file:/out/n?"),
        *("--secret", "TOKEN", "--secret", "key=KEY", "--secret", "cert=file:cert.pem"),
        *("--user", "nobody", "--rlimit", "nofile=100", "--private-tmp"),
    )
    assert spec.inputs == (Input("object:data", "in/d", SUM), Input("file:/data/e", "e"))
    assert spec.outputs == (
        Output("m", "object:model"),
        Output("n", "file:/out/n", required=False),
    )
    assert spec.secrets == (
        Secret("TOKEN", env="TOKEN"),
        Secret("key", env="KEY"),
        Secret("cert", path="cert.pem"),
    )
    assert (spec.user, spec.rlimits, spec.private_tmp) == ("nobody", {"nofile": 100}, True)
    assert spec.fault() is None
    said = dict(around(spec))
    assert said["secrets"] == "TOKEN as TOKEN, key as KEY, cert as $PENSTOCK_SECRETS/cert.pem"
    assert said["outputs"] == "m to object:model, n to file:/out/n"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (("--pull", "always"), "--image"),
        (("--image", "i", "--mount", "/a"), "HOST:INSIDE"),
        (("--image", "i", "--mount", "/a:/b:x"), "HOST:INSIDE"),
        (("--input", "a=http://x"), "object:NAME"),
        (("--output", "m=model"), "object:NAME"),
        (("--rlimit", "nofile"), "NAME=N"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_sent(
    given: tuple[str, ...], word: str
) -> None:
    with pytest.raises(click.BadParameter) as caught:
        spec_of(*given)
    assert word in caught.value.format_message()


def test_a_file_of_jobs_says_the_same_and_misspelt_parts_are_refused() -> None:
    job = {
        "command": [],
        "container": {"image": "i", "mounts": [{"source": "/a", "target": "/b"}]},
        "inputs": [{"source": "object:d", "path": "d"}],
        "secrets": [{"name": "key", "env": "KEY"}],
    }
    ((_, spec),) = read_jobs(msgspec.json.encode(job).decode(), new_job_id)
    assert spec.container == Container(image="i", mounts=(Mount("/a", "/b"),))
    for path, wrong, hint in (
        ("container", {"imgae": "i", "image": "i"}, "'image'"),
        ("container", {"image": "i", "mounts": [{"src": "/a", "target": "/b"}]}, "'source'"),
        ("inputs", [{"source": "object:d", "pth": "d"}], "'path'"),
        ("secrets", [{"nam": "key"}], "'name'"),
    ):
        with pytest.raises(Refused) as caught:
            read_jobs(msgspec.json.encode({**job, path: wrong}).decode(), new_job_id)
        assert hint in caught.value.refusal.message and path in caught.value.refusal.field
