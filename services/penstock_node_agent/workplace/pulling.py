"""What does podman's talk while it pulls an image mean?

Its steps as sentences for whoever waits, and whose fault it is that it fails. It does not know what
waits for the image.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from penstock_node_agent.workplace.unready import JOB, NODE, Unready

LINE_LETTERS_MAX = 300
NO_SUCH_IMAGE = (
    "manifest unknown",
    "name unknown",
    "not found",
    "does not exist",
    "no such image",
    "no such file or directory",
    "access to the resource is denied",
    "unauthorized",
    "authentication required",
    "denied:",
    "invalid reference format",
    "repository name must",
    "did not resolve to an alias",
    "unsupported transport",
    "no image found in",
)
UNREACHABLE = (
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "timeout",
    "deadline exceeded",
    "no route to host",
    "network is unreachable",
    "temporary failure",
    "server misbehaving",
    "tls:",
    "x509:",
    "toomanyrequests",
    "unexpected eof",
    "service unavailable",
    "bad gateway",
)
DISK_FULL = ("no space left on device", "disk quota exceeded")
BLOB = re.compile(r"Copying blob (sha256:)?([0-9a-f]{6,12})")


def steps_of(image: str, progress: Callable[[str], None]) -> Callable[[str], None]:
    """Hears what podman says, in pieces, and tells each step once."""
    seen: set[str] = set()
    rest = ""

    def tell(step: str) -> None:
        if step not in seen:
            seen.add(step)
            progress(step[:LINE_LETTERS_MAX])

    def hear(piece: str) -> None:
        nonlocal rest
        *lines, rest = (rest + piece).split("\n")
        rest = rest[-LINE_LETTERS_MAX:]
        for line in lines:
            blob = BLOB.match(line)
            if line.startswith("Trying to pull "):
                tell(f"image {image}: asking {line.removeprefix('Trying to pull ').rstrip('.')}")
            elif blob is not None:
                tell(f"image {image}: layer {blob[2]}")
            elif line.startswith("Writing manifest"):
                tell(f"image {image}: all layers are here")

    return hear


def fault_of(image: str, said: str) -> Unready:
    """Whether the image is wrong, or this node: its disk, its way to the registry."""
    lines = [line for line in said.splitlines() if line.strip()]
    sentence = (lines[-1] if lines else "podman said nothing").removeprefix("Error: ")
    sentence = f"image {image}: {sentence}"
    text = said.lower().replace(image.lower(), "")
    if any(words in text for words in DISK_FULL):
        return Unready("disk_full", sentence, NODE)
    if any(words in text for words in UNREACHABLE):
        return Unready("registry_unreachable", sentence, NODE)
    if any(words in text for words in NO_SUCH_IMAGE):
        return Unready("no_such_image", sentence, JOB)
    return Unready("pull_failed", sentence, NODE)
