"""Suites whose tests run one by one: each test directly and through the proxy, several at once, and a run that can be gone on with.

What came out is written to target/drivers/SUITE-SERVER.jsonl test by test. A run ends after MINUTES where that is set; the next
goes on with the tests that are not in the file. AT_ONCE (2) pairs of servers work side by side.
"""

import json
import os
import pathlib
import queue
import shutil
import tempfile
import threading
import time

WAYS = ("direct", "proxied")


class Bench:
    """A server for each way, alike, and their places; begun anew when one does not answer."""

    def __init__(self, suite, server, lab, note):
        self.suite, self.server, self.lab, self.note = suite, server, lab, note
        self.labs, self.places, self.fresh = {}, {}, {}

    def start(self):
        for way in WAYS:
            place = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-suite-"))
            self.places[way] = place
            environment = self.suite.environment(self.server, place)
            self.labs[way] = self.lab(self.server, self.suite.server_options(self.server), environment).__enter__()

    def stop(self):
        for way, lab in self.labs.items():
            if way == "proxied":
                log = lab.log()
                self.note["panics"] += log.count("panicked at")
                self.note["errors"] = (self.note["errors"] + [line for line in log.splitlines() if " ERROR " in line])[:5]
            lab.__exit__()
        for place in self.places.values():
            shutil.rmtree(place, ignore_errors=True)
        self.labs, self.places, self.fresh = {}, {}, {}

    def run(self, file, way):
        for _ in range(2):
            if not self.labs:
                self.start()
            target = self.labs[way].target(way, self.server)
            # A test that failed may have left settings or system tables behind that no sweeping mends.
            state = self.suite.sweep(target)
            if state and state == self.fresh.setdefault(way, state):
                return self.suite.run_one(target, file, self.places[way])
            self.stop()
        raise RuntimeError(f"no server answers for {file}")


def known(record):
    """What an earlier run has written: test -> way -> outcome."""
    lines = record.read_text().splitlines() if record.exists() else []
    return {line["test"]: line for line in map(json.loads, lines)}


def run(suite, server, lab, record, note):
    """Runs what is not in the record yet; gives all of it, and whether nothing is left to run."""
    tests, done = suite.tests(server), known(record)
    work = queue.Queue()
    for name in tests:
        if name not in done:
            work.put(name)
    until = time.monotonic() + 60 * float(os.environ.get("MINUTES", "100000"))
    writing = threading.Lock()

    def worker():
        bench = Bench(suite, server, lab, note)
        try:
            while time.monotonic() < until:
                try:
                    name = work.get_nowait()
                except queue.Empty:
                    return
                line = {"test": name}
                for way in WAYS:
                    line[way], line[f"{way} said"] = bench.run(tests[name], way)
                with writing, open(record, "a") as out:
                    done[name] = line
                    out.write(json.dumps(line) + "\n")
        finally:
            bench.stop()

    workers = [threading.Thread(target=worker) for _ in range(int(os.environ.get("AT_ONCE", "2")))]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    found = {way: {name: line[way] for name, line in done.items() if name in tests} for way in WAYS}
    return found["direct"], found["proxied"], len(tests) - len(found["direct"])


def repeat(suite, server, lab, tests, times, note):
    """Repeats tests both ways, each on fresh servers; gives way -> test -> the set of outcomes."""
    files = suite.tests(server)
    seen = {way: {test: set() for test in tests} for way in WAYS}
    for test in tests:
        for _ in range(times):
            bench = Bench(suite, server, lab, note)
            try:
                for way in WAYS:
                    seen[way][test].add(bench.run(files[test], way)[0])
            finally:
                bench.stop()
    return seen
