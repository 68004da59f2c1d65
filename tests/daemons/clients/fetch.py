"""Fetches whatever the menu names, over HTTP, again and again; prints `SHA256 PATH` for each.

Usage: fetch.py BASE_URL. Ends, after one more round, when its standard input is closed.
"""

import hashlib
import re
import select
import sys
import urllib.error
import urllib.request

base = sys.argv[1]
done = set()
last = False
while True:
    with urllib.request.urlopen(f"{base}/boot.ipxe", timeout=20) as answer:
        menu = answer.read().decode()
    named = re.findall(r"^kernel \$\{base\}/(\S+)", menu, re.MULTILINE)
    for path in named:
        if path in done:
            continue
        try:
            with urllib.request.urlopen(f"{base}/{path}", timeout=20) as answer:
                body = answer.read()
                assert len(body) == int(answer.headers["Content-Length"]), path
        except urllib.error.HTTPError as error:
            print(f"{error.code} {path}", flush=True)
            continue
        done.add(path)
        print(f"{hashlib.sha256(body).hexdigest()} {path}", flush=True)
    if last:
        break
    last = bool(select.select([sys.stdin], [], [], 0.05)[0])
print("end", flush=True)
