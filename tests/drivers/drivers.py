"""Runs suites directly and through the proxy against the same server, and compares what failed.

A suite is run against two fresh servers, initialised alike: once at the server's own port, once at the proxy's. A test whose
outcome differs is repeated alone, both ways; one that comes out both ways on a direct connection is called flaky.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

import onebyone
import suites

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPEATS = 4


class Lab:
    """One server and one proxy, as tests/drivers/lab.rs starts them; both end with the block."""

    def __init__(self, server, options, environment=None):
        self.command = [os.environ.get("TIDEGATE_LAB") or ROOT / "target/debug/examples/lab", server, *options]
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        # On a machine that is busy with other things a server may need more than the minute that the lab waits for it.
        for _ in range(5):
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment)
            line = self.process.stdout.readline()
            if line:
                self.facts = json.loads(line)
                return self
        raise RuntimeError(f"{self.command} did not start")

    def target(self, way, server):
        port = self.facts["server_port" if way == "direct" else "proxy_port"]
        return suites.Target(server, port, self.facts["server_port"], self.facts["socket"])

    def log(self):
        return pathlib.Path(self.facts["proxy_log"]).read_text(errors="replace")

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def run_once(suite, server, way, only=None, note=None):
    with Lab(server, suite.server_options(server)) as lab:
        target = lab.target(way, server)
        suite.before(target)
        outcomes = suite.run(target, only)
        if note is not None:
            log = lab.log()
            note["panics"] = log.count("panicked at")
            note["errors"] = [line for line in log.splitlines() if " ERROR " in line][:5]
        return outcomes


def differing(direct, proxied):
    return sorted(test for test in direct.keys() | proxied.keys() if direct.get(test) != proxied.get(test))


def judge(suite, server, tests, note):
    """Repeats tests that came out differently; gives those that stay different and those that are flaky without the proxy."""
    if not tests:
        return [], []
    if suite.one_by_one:
        seen = onebyone.repeat(suite, server, Lab, tests, REPEATS, note)
    else:
        seen = {way: {test: set() for test in tests} for way in onebyone.WAYS}
        for _ in range(REPEATS):
            for way in seen:
                outcomes = run_once(suite, server, way, tests)
                for test in tests:
                    seen[way][test].add(outcomes.get(test, "absent"))
    different = [test for test in tests if seen["direct"][test] != seen["proxied"][test] and len(seen["direct"][test]) == 1]
    return different, [test for test in tests if test not in different]


def compare(suite, server, out):
    note, left = {"panics": 0, "errors": []}, 0
    started = datetime.datetime.now()
    if suite.one_by_one:
        direct, proxied, left = onebyone.run(suite, server, Lab, out / f"{suite.name}-{server}.jsonl", note)
    else:
        direct = run_once(suite, server, "direct")
        proxied = run_once(suite, server, "proxied", note=note)
    first = differing(direct, proxied)
    print(f"  {suite.name} on {server}: {len(direct)} tests, {left} left to run, {len(first)} differ at first: {first[:20]}", flush=True)
    different, flaky = judge(suite, server, first[: suite.repeat_at_most] if not left else [], note)
    return {
        "suite": suite.name,
        "version": suite.version,
        "server": server,
        "tests": len(direct),
        "left": left,
        "skipped": sum(outcome == "skip" for outcome in direct.values()),
        "direct": sorted(test for test, outcome in direct.items() if outcome == "fail"),
        "proxied": sorted(test for test, outcome in proxied.items() if outcome == "fail"),
        "different": different + first[suite.repeat_at_most if not left else 0 :],
        "flaky": flaky,
        "seconds": (datetime.datetime.now() - started).seconds,
        **note,
    }


def table(results):
    lines = [
        "| suite | server | tests | skipped | failures direct | failures through the proxy | differ | flaky |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        names = ", ".join(f"`{test}`" for test in one["different"]) or "none"
        flaky = ", ".join(f"`{test}`" for test in one["flaky"]) or "none"
        of = f" of {one['tests'] + one['left']}" if one.get("left") else ""
        lines.append(
            f"| {one['suite']} {one['version']} | {one['server']} | {one['tests']}{of} | {one['skipped']} | {len(one['direct'])} "
            f"| {len(one['proxied'])} | {names} | {flaky} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="tests/drivers/run")
    parser.add_argument("suite", nargs="*", help="names; all where none is given")
    parser.add_argument("--list", action="store_true", help="name the suites")
    parser.add_argument("--table", action="store_true", help="print the table of the last results without running anything")
    wishes = parser.parse_args()
    known = {suite.name: suite for suite in suites.ALL}
    if wishes.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in wishes.suite if name not in known]
    if unknown:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(known)}")
    out = ROOT / "target/drivers"
    if wishes.table:
        files = (out / f"{name}-{server}.json" for name in wishes.suite or known for server in ("mysql", "mariadb"))
        print(table([json.loads(file.read_text()) for file in files if file.exists()]))
        return 0
    servers = [os.environ["SERVER"]] if os.environ.get("SERVER") else ["mysql", "mariadb"]
    results, missing = [], []
    out.mkdir(parents=True, exist_ok=True)
    for name in wishes.suite or known:
        suite = known[name]
        for server in (server for server in servers if server in suite.servers):
            print(f"== {name} on {server}", flush=True)
            try:
                suite.prepare(server)
            except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
                said = getattr(error, "stderr", None) or ""
                missing.append(f"{name} on {server} could not be prepared: {error} {said[-600:]}")
                print(missing[-1], flush=True)
                continue
            results.append(compare(suite, server, out))
            (out / f"{name}-{server}.json").write_text(json.dumps(results[-1], indent=1))
    report = table(results) + "\n" + "\n".join(missing)
    (out / "report.md").write_text(report + "\n")
    print(report)
    bad = [one for one in results if one["different"] or one["panics"] or one.get("left") or one["tests"] == one["skipped"]]
    return 1 if bad or missing else 0


if __name__ == "__main__":
    sys.exit(main())
