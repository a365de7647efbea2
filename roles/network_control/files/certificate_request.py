# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print this host's certificate if it is good, else a request for a (new) one.

Arguments as one JSON object: directory, name, address ("" for none), renewal_days, authority (PEM text of the CA's certificate).
A good certificate is signed by that authority, made out to name and address, belongs to the private key and lives longer than renewal_days.
The private key is made here when there is none, and reused for renewal: Open vSwitch reloads a changed certificate by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def is_good(directory: Path, name: str, address: str, renewal_days: int, authority: str) -> bool:
    ca, certificate, key = (directory / file for file in ("ca.pem", "cert.pem", "key.pem"))
    if not all(file.exists() for file in (ca, certificate, key)) or ca.read_text().strip() != authority.strip():
        return False
    identity = ["-verify_hostname", name, *(["-verify_ip", address] if address else [])]
    deadline = str(int(time.time()) + renewal_days * 86400)
    if openssl("verify", "-CAfile", str(ca), "-attime", deadline, *identity, str(certificate)).returncode:
        return False
    return openssl("x509", "-in", str(certificate), "-noout", "-pubkey").stdout == openssl("pkey", "-in", str(key), "-pubout").stdout


def request(directory: Path, name: str) -> str:
    key, draft = directory / "key.pem", directory / "key.pem.new"
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if openssl("pkey", "-in", str(key), "-noout").returncode:
        draft.unlink(missing_ok=True)
        # openssl makes private key files readable by their owner alone.
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(draft)).check_returncode()
        draft.rename(key)
    made = openssl("req", "-new", "-config", "/dev/null", "-key", str(key), "-subj", f"/CN={name}")
    if made.returncode:
        raise SystemExit(f"openssl cannot make a certificate request with {key}: {made.stderr}")
    return made.stdout


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    options["directory"] = Path(options["directory"])
    options["renewal_days"] = int(options["renewal_days"])
    print((options["directory"] / "cert.pem").read_text() if is_good(**options) else request(options["directory"], options["name"]), end="")
