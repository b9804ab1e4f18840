"""Submit a job and follow its facts with nothing but nats-py and the published document.

python examples/raw_client.py docs/asyncapi.json NATS_URL CREDS_FILE echo hello
"""

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path

import nats


async def main(document, url, creds, *command):
    subject = {name: channel["address"] for name, channel in document["channels"].items()}
    connection = await nats.connect(url, user_credentials=creds)
    number = int(time.time() * 1000) << 80 | secrets.randbits(80)  # a ULID, made by the requester
    job = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> s & 31] for s in range(125, -1, -5))
    facts = await connection.subscribe(
        subject["job_event"].format(tenant="default", job_id=job, fact="*")
    )
    request = json.dumps({"job_id": job, "command": command}).encode()
    await connection.request(subject["submit_job"].format(tenant="default"), request)
    async for message in facts.messages:
        fact = json.loads(message.data)
        print(fact["fact"], fact.get("exit_code", ""), flush=True)
        if fact["fact"] in ("succeeded", "failed", "cancelled", "timed_out", "rejected"):
            return await connection.close()


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), *sys.argv[2:]))
