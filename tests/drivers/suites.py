"""The suites: where each comes from, how it is told which server to use, and how its report is read.

No suite is kept in this project; all are fetched when they are run. Each gives a dictionary: test -> pass, fail or skip.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as xml

CACHE = pathlib.Path(os.environ.get("TIDEGATE_DRIVERS") or pathlib.Path.home() / ".cache/tidegate/drivers")
SERVERS = pathlib.Path(os.environ.get("TIDEGATE_SERVERS") or pathlib.Path.home() / ".cache/tidegate/servers")
PROJECT = pathlib.Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


@dataclasses.dataclass
class Target:
    """Where a suite connects to. `server_port` and `socket` are the server's own, for what prepares it."""

    server: str
    port: int
    server_port: int
    socket: str

    def sql(self, text):
        """Runs statements as root, straight on the server."""
        shell = "mysql" if self.server == "mysql" else "mariadb"
        status, said = attempt([SERVERS / "bin" / shell, "--no-defaults", f"--socket={self.socket}", "-uroot"], 120, input=text)
        if status:
            raise RuntimeError(f"preparing {self.server}: {said}")


def call(command, **more):
    """Runs a command; its failure carries what it wrote."""
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **more).stdout


def attempt(command, timeout, **more):
    """Runs a command that may fail; gives its status and all it wrote."""
    try:
        done = subprocess.run(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, errors="replace", **more
        )
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
        return -1, text.decode(errors="replace") if isinstance(text, bytes) else text


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Suite:
    name = ""
    version = ""
    servers = ("mysql", "mariadb")
    repeat_at_most = 40
    one_by_one = False  # True: `tests`, `sweep` and `run_one` in the place of `run`
    databases = ("test",)
    charset = "utf8mb4"

    def server_options(self, _server):
        return []

    def prepare(self, server):
        """Fetches and builds; what is there already is kept."""

    def before(self, target):
        target.sql("".join(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET {self.charset};" for name in self.databases))

    def run(self, target, only):
        raise NotImplementedError

    @property
    def folder(self):
        return CACHE / self.name


class Python(Suite):
    """A driver from PyPI with the tests of its source package, run by pytest."""

    package = ""
    tests_from = ""
    more = ()
    tests = "tests"
    charset = "utf8mb4"

    def prepare(self, server):
        marker = self.folder / ".complete"
        python = self.folder / "venv/bin/python"
        if not marker.exists():
            fresh(self.folder)
            call(["/usr/bin/python3", "-m", "venv", self.folder / "venv"])
            call([python, "-m", "pip", "-q", "install", "setuptools", "wheel", "pytest", "pytest-timeout", *self.more])
            name = self.package.lower()
            source = self.tests_from or self.package
            call([python, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", name, "-d", self.folder, source])
            archive = next(self.folder.glob("*.tar.gz"))
            with tarfile.open(archive) as packed:
                packed.extractall(self.folder / "source")
            call([python, "-m", "pip", "-q", "install", self.package if self.tests_from else archive])
            self.place()
            marker.touch()
        shown = call([python, "-m", "pip", "show", self.package])
        self.version = re.search(r"^Version: (.*)$", shown, re.M).group(1)

    @property
    def source(self):
        return next((self.folder / "source").iterdir())

    def place(self):
        """Puts the tests where they can be run."""

    def environment(self, _target):
        return {}

    def arguments(self, _target):
        return []

    def run(self, target, only):
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        command = [self.folder / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=120", f"--junitxml={report}"]
        # Tests of one file may need each other: a single one is repeated with its whole file.
        files = sorted({name.split("::")[0] for name in only}) if only else [self.tests]
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **self.environment(target)}
        _, said = attempt([*command, *self.arguments(target), *files], 3600, cwd=self.where(), env=environment)
        if not report.exists():
            raise RuntimeError(f"pytest wrote no report:\n{said[-3000:]}")
        outcomes = {}
        for case in xml.parse(report).getroot().iter("testcase"):
            parts = case.get("classname", "").split(".")
            depth = next((n for n in range(len(parts), 0, -1) if (self.where() / ("/".join(parts[:n]) + ".py")).exists()), len(parts))
            name = "::".join(["/".join(parts[:depth]) + ".py", *parts[depth:], case.get("name", "")])
            name = name.replace(str(target.port), "PORT")
            kinds = {child.tag for child in case}
            outcomes[name] = "fail" if kinds & {"failure", "error"} else "skip" if "skipped" in kinds else "pass"
        return outcomes

    def where(self):
        return self.source


class PyMySQL(Python):
    """The source packages since 1.0 hold hardly any tests; those of 0.10.1 are run with the driver of today."""

    name = "pymysql"
    package = "PyMySQL"
    tests_from = "PyMySQL==0.10.1"
    more = ("cryptography",)
    databases = ("test1", "test2")
    tests = "pymysql/tests"

    def place(self):
        site = next((self.folder / "venv/lib").glob("python3*")) / "site-packages"
        shutil.copytree(self.source / "pymysql/tests", site / "pymysql/tests")
        # What the driver of today has no more, and the tests ask for.
        for gone in ("_compat.py", "util.py"):
            shutil.copy(self.source / "pymysql" / gone, site / "pymysql" / gone)
        (site / "unittest2.py").write_text("from unittest import *\n")

    def where(self):
        return next((self.folder / "venv/lib").glob("python3*")) / "site-packages"

    def environment(self, target):
        account = {"host": HOST, "port": target.port, "user": "root", "passwd": "", "use_unicode": True, "local_infile": True}
        accounts = [{**account, "db": name} for name in self.databases]
        (self.where() / "pymysql/tests/databases.json").write_text(json.dumps(accounts))
        return {}


class MySQLClient(Python):
    name = "mysqlclient"
    package = "mysqlclient"
    more = ("sqlalchemy",)

    def environment(self, target):
        text = f"[MySQLdb-tests]\nhost = {HOST}\nport = {target.port}\nuser = root\ndatabase = test\ndefault-character-set = utf8mb4\n"
        (self.source / "tests/tidegate.cnf").write_text(text)
        # Where the system's client library finds what MySQL's accounts need to log in.
        return {"TESTDB": "tidegate.cnf", **client_plugins()}


class MariaDBConnector(Python):
    name = "mariadb-connector"
    package = "mariadb"
    more = ("packaging",)
    databases = ("testp",)
    tests = "testing/test/integration"

    def place(self):
        # Beside the driver's source its package would be found without the part in C.
        shutil.copytree(self.source / "testing", self.folder / "run/testing")

    def where(self):
        return self.folder / "run"

    def environment(self, target):
        return {"TEST_DB_HOST": HOST, "TEST_DB_PORT": str(target.port), "TEST_DB_USER": "root", "TEST_DB_DATABASE": "testp", **client_plugins()}


class AioMySQL(Python):
    name = "aiomysql"
    package = "aiomysql"
    more = ("uvloop", "sqlalchemy<2", "cryptography")
    databases = ("test_pymysql", "test_pymysql2")

    def environment(self, _target):
        return {"MYSQL_USER": "root", "MYSQL_PASSWORD": "", "MYSQL_HOST": HOST}

    def arguments(self, target):
        return [f"--mysql-address=server={HOST}:{target.port}"]


def client_plugins():
    found = list(pathlib.Path("/usr/lib").glob("*/libmariadb3/plugin"))
    return {"MARIADB_PLUGIN_DIR": str(found[0])} if found else {}


class Node(Suite):
    """A driver from npm; every file of its tests is a program that fails or does not."""

    def files(self):
        raise NotImplementedError

    def run(self, target, only):
        environment = {**os.environ, "MYSQL_HOST": HOST, "MYSQL_PORT": str(target.port), "MYSQL_USER": "root", "MYSQL_PASSWORD": "", "MYSQL_DATABASE": "test"}
        outcomes = {}
        for file in self.files():
            name = str(file.relative_to(self.folder))
            if only is None or name in only:
                status, _ = attempt(["node", file], 60, env=environment, cwd=self.folder)
                outcomes[name] = "pass" if status == 0 else "fail"
        return outcomes

    def unpack(self, package, to):
        """The package's own archive, as npm gives it."""
        name = call(["npm", "pack", "--silent", package], cwd=self.folder).strip().splitlines()[-1]
        with tarfile.open(self.folder / name) as packed:
            packed.extractall(to)


class MySQL2(Node):
    """The archives since 1.0 hold no tests; those of 0.15.8 are run with the driver of today."""

    name = "mysql2"

    def prepare(self, server):
        if not (self.folder / ".complete").exists():
            fresh(self.folder)
            (self.folder / "package.json").write_text('{"name": "suite", "version": "1.0.0"}')
            call(["npm", "install", "--silent", "--no-audit", "--no-fund", "mysql2", "assert-diff", "bn.js", "readable-stream"], cwd=self.folder)
            self.unpack("mysql2@0.15.8", self.folder / "old")
            shutil.copytree(self.folder / "old/package/test", self.folder / "test")
            # What the tests ask for beside them is the driver of today, and one file that it has no more.
            driver = self.folder / "node_modules/mysql2"
            for part in ("index.js", "promise.js"):
                shutil.copy(driver / part, self.folder / part)
            shutil.copytree(driver / "lib", self.folder / "lib")
            (self.folder / "lib/sql_string.js").write_text("module.exports = require('sql-escaper');\n")
            (self.folder / ".complete").touch()
        self.version = json.loads((self.folder / "node_modules/mysql2/package.json").read_text())["version"]

    def files(self):
        return sorted((self.folder / "test/integration").rglob("test-*.js"))


class NodeMySQL(Node):
    """Its archive holds no tests; Debian's source package does. It knows no password plugin of MySQL 9."""

    name = "node-mysql"
    servers = ("mariadb",)

    def prepare(self, server):
        if not (self.folder / ".complete").exists():
            fresh(self.folder)
            source = debian_source("node-mysql", self.folder)
            for part in ("lib", "test", "index.js", "package.json"):
                shutil.move(source / part, self.folder / part)
            call(["npm", "install", "--silent", "--no-audit", "--no-fund", "--omit=dev"], cwd=self.folder)
            call(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "after", "utest", "timezone-mock", "seedrandom"], cwd=self.folder)
            (self.folder / ".complete").touch()
        self.version = json.loads((self.folder / "package.json").read_text())["version"]

    def files(self):
        return sorted((self.folder / "test/integration").rglob("test-*.js"))


def debian_source(package, folder):
    """The upstream archive of a Debian source package, unpacked; from the archive that this machine itself uses."""
    lists = folder / "apt"
    for part in ("lists/partial", "empty", "archives/partial"):
        (lists / part).mkdir(parents=True)
    (lists / "status").touch()
    text = "\n".join(file.read_text() for file in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")] if file.is_file())
    archive = re.search(r"^deb +(?:\[[^]]*\] +)?(\S*debian/?) ", text, re.M) or re.search(r"^URIs: *(\S*/debian/?) *$", text, re.M)
    release = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M).group(1)
    keyring = next(pathlib.Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    (lists / "sources.list").write_text(f"deb-src [signed-by={keyring}] {archive.group(1)} {release} main\n")
    options = {
        "Dir::Etc::SourceList": lists / "sources.list",
        "Dir::Etc::SourceParts": lists / "empty",
        "Dir::State::Lists": lists / "lists",
        "Dir::State::status": lists / "status",
        "Dir::Cache": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    call([*apt, "update"])
    attempt([*apt, "source", "--download-only", package], 600, cwd=folder)  # the upstream archive is enough
    with tarfile.open(next(folder.glob("*.orig.tar.*"))) as packed:
        packed.extractall(folder / "source")
    return next((folder / "source").iterdir())


class Crate(Suite):
    """A crate's own tests."""

    crate = ""
    compress = "false"

    def prepare(self, server):
        if not (self.folder / ".complete").exists():
            fresh(self.folder)
            call(["cargo", "init", "--quiet", "--name", "fetch", "--vcs", "none", self.folder / "fetch"])
            call(["cargo", "add", "--quiet", self.crate], cwd=self.folder / "fetch")
            call(["cargo", "vendor", "--quiet", "--versioned-dirs", self.folder / "vendor"], cwd=self.folder / "fetch")
            crate = next((self.folder / "vendor").glob(f"{self.crate}-[0-9]*"))
            shutil.copytree(crate, self.folder / "source")
            shutil.rmtree(self.folder / "vendor")
            manifest = self.folder / "source/Cargo.toml"
            manifest.write_text(manifest.read_text() + "\n[workspace]\n")
            (self.folder / ".complete").touch()
        call(["cargo", "test", "--quiet", "--lib", "--no-run"], cwd=self.folder / "source")
        self.version = re.search(r'^version = "(.*)"', (self.folder / "source/Cargo.toml").read_text(), re.M).group(1)

    def run(self, target, only):
        url = f"mysql://root@{HOST}:{target.port}/test"
        filters = ["--exact", *only] if only else []
        command = ["cargo", "test", "--quiet", "--lib", "--", "--test-threads=1", "--format=pretty", *filters]
        _, said = attempt(command, 3600, cwd=self.folder / "source", env={**os.environ, "DATABASE_URL": url, "COMPRESS": self.compress, "SSL": "false"})
        words = {"ok": "pass", "FAILED": "fail", "ignored": "skip"}
        # A test may write between its name and its outcome.
        found = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (?:.*?)(ok|FAILED|ignored)\b", said, re.M | re.S)
        return {name: words[outcome] for name, outcome in found}


class MySQLAsync(Crate):
    name = "mysql_async"
    crate = "mysql_async"
    databases = ("test",)


class MySQLAsyncCompressed(MySQLAsync):
    name = "mysql_async-compressed"
    compress = "true"

    @property
    def folder(self):
        return CACHE / MySQLAsync.name


class ClientTest(Suite):
    """The servers' own tests of the C API, one by one."""

    name = "c-api"

    def program(self, server):
        home = SERVERS / f"{server}-test"
        return home / ("usr/lib/mysql-test/bin/mysql_client_test" if server == "mysql" else "usr/bin/mariadb-client-test")

    def prepare(self, server):
        call([PROJECT / "tests/support/install-servers", f"{server}-test"])
        self.version = re.search(r"(?:Ver|Distrib) (\d+\.\d+\.\d+)", call([self.program(server), "--no-defaults", "--help"]).replace("Ver 2.1 ", "")).group(1)

    def run(self, target, only):
        base = [self.program(target.server), "--no-defaults"]
        status, said = attempt([*base, "--show-tests"], 60)
        names = [line.strip() for line in said.splitlines() if re.fullmatch(r"\w+", line.strip())]
        share = SERVERS / f"{target.server}-test" / ("usr/lib/mysql-test" if target.server == "mysql" else "usr/share/mysql/mysql-test")
        base += ["-h", HOST, "-P", target.port, "-u", "root", "--testcase", f"--vardir={fresh(self.folder)}"]
        outcomes = {}
        for name in names:
            if only is None or name in only:
                status, said = attempt([*base, name], 120, cwd=share, env={**os.environ, **({} if target.server == "mysql" else {"MARIADB_PLUGIN_DIR": str(SERVERS / "mariadb-test/usr/lib/x86_64-linux-gnu/libmariadb3/plugin")})})
                outcomes[name] = "pass" if status == 0 else "fail"
        return outcomes


class Regression(Suite):
    """The server's own regression suite, `main`: its tests, run one by one by the program that the suite itself uses for it.

    The suite's runner can use a running server too, but then what one failed test leaves behind fails the next ones; here the server
    is swept before each.
    """

    name = "regression"
    databases = ()
    one_by_one = True
    repeat_at_most = 100
    sweeper = """
        SET SESSION sql_mode = '', foreign_key_checks = 0, lock_wait_timeout = 5, group_concat_max_len = 100000;
        SELECT CONCAT('DROP DATABASE `', schema_name, '`;') FROM information_schema.schemata
          WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema');
        SELECT CONCAT('DROP USER IF EXISTS ', QUOTE(user), '@', QUOTE(host), ';') FROM mysql.user
          WHERE user NOT IN ('root', 'app', 'tidegate', 'poor', 'second', 'mariadb.sys') AND user NOT LIKE 'mysql.%';
        SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist
          WHERE id <> CONNECTION_ID() AND user IN ('root', 'app') AND command IN ('Sleep', 'Query');
    """

    def home(self, server):
        return SERVERS / f"{server}-test/usr" / ("lib/mysql-test" if server == "mysql" else "share/mysql/mysql-test")

    def programs(self, server):
        return SERVERS / f"{server}-test/usr" / ("lib/mysql-test/bin" if server == "mysql" else "bin")

    def server_options(self, server):
        # What the suite's own configuration sets, as far as results show it.
        options = ["--log-bin-trust-function-creators=1", "--loose-performance-schema=ON", "--loose-explain-format=TRADITIONAL"]
        options += [f"--std-data={self.home(server) / 'std_data'}"]
        if server == "mariadb":
            options += ["--character-set-server=latin1", "--default-storage-engine=myisam", "--use-stat-tables=preferably"]
            options += ["--histogram-type=json_hb", "--sort-buffer-size=256K", "--max-heap-table-size=1M", "--key-buffer-size=1M"]
        return options

    def environment(self, server, place):
        """Of the server: the suite's time zone, and a place from which it reaches the suite's data where the tests look for them."""
        (place / "tmp").mkdir()
        (place / "log").mkdir()
        shutil.copytree(self.home(server) / "std_data", place / "std_data")
        for folder in (place, place / "tmp"):
            folder.chmod(0o777)
        return {"TMPDIR": str(place), "TZ": "GMT-3"}

    def prepare(self, server):
        call([PROJECT / "tests/support/install-servers", f"{server}-test"])
        said = call([self.programs(server) / "mysqltest", "--no-defaults", "--version"])
        self.version = re.findall(r"(\d+\.\d+\.\d+)", said)[0]

    def tests(self, server):
        """The tests that do not ask for a server of their own: other options, restarts, a replica, a debug build."""
        folder = next(folder for folder in (self.home(server) / "main", self.home(server) / "t") if folder.exists())
        own = r"not_as_external|restart_mysqld|shutdown_server|kill_mysqld|start_mysqld|have_debug|master-slave|rpl_|big_test|galera|wsrep"
        files = (file for file in sorted(folder.glob("*.test")) if not list(folder.glob(f"{file.stem}*.opt")))
        files = (file for file in files if not any((folder / (file.stem + end)).exists() for end in (".cnf", ".sh", "-master.sh")))
        names = [file for file in files if not re.search(own, file.read_text(errors="replace"))]
        return {f"main.{file.stem}": file for file in names[int(os.environ.get("FIRST", "0")) :: int(os.environ.get("EVERY", "1"))]}

    def sweep(self, target):
        """Takes away what tests left; gives the rest of the server's state, nothing where it does not answer."""
        shell = [SERVERS / "bin" / ("mysql" if target.server == "mysql" else "mariadb"), "--no-defaults", f"--socket={target.socket}", "-uroot"]
        status, drops = attempt([*shell, "-N", "-r"], 60, input=self.sweeper)
        if status:
            return None
        drops += "CREATE DATABASE test; CREATE DATABASE mtr; CREATE PROCEDURE mtr.add_suppression(pattern VARCHAR(255)) DO 0;"
        attempt([*shell, "--force"], 60, input=drops)
        variables = "performance_schema" if target.server == "mysql" else "information_schema"
        # Files that a test left in the folder of a schema keep it from being made anew.
        state = f"""SET SESSION group_concat_max_len = 1000000;
            SELECT 'made anew' FROM information_schema.schemata WHERE schema_name IN ('mtr', 'test') HAVING COUNT(*) = 2;
            SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ('mysql', 'sys');
            SELECT SHA2(GROUP_CONCAT(variable_name, '=', variable_value ORDER BY variable_name), 256) FROM {variables}.global_variables
              WHERE variable_name NOT LIKE 'gtid%';"""
        status, said = attempt([*shell, "-N"], 60, input=state)
        return None if status or not said.startswith("made anew") else said

    def run_one(self, target, file, place):
        """Runs one test; gives its outcome and the last of what it wrote. `place` is what `environment` has prepared."""
        home, bin = self.home(target.server), self.programs(target.server)
        client = f"--no-defaults --host={HOST} --port={target.port} --user=root --protocol=tcp"
        environment = {
            **os.environ,
            "LC_ALL": "C",
            "TZ": "GMT-3",
            "USE_RUNNING_SERVER": "1",
            "MYSQL_TEST_DIR": str(home),
            "MYSQLTEST_VARDIR": str(place),
            "MYSQL_TMP_DIR": str(place / "tmp"),
            "MASTER_MYPORT": str(target.port),
            "MASTER_MYSOCK": target.socket,
            "MARIADB_PLUGIN_DIR": str(next((SERVERS / "mariadb-test/usr/lib").glob("*/libmariadb3/plugin"), "")),
            **{f"MYSQL{name}": f"{bin}/mysql{name.lower().lstrip('_')} {client}" for name in ("", "_DUMP", "_SHOW", "_IMPORT", "ADMIN", "_CHECK", "_SLAP")},
            "MYSQL_TEST": f"{bin}/mysqltest {client}",
        }
        result = next((f for f in (file.with_suffix(".result"), home / "r" / f"{file.stem}.result") if f.exists()), None)
        command = [bin / "mysqltest", *client.split(), "--database=test", "--silent", f"--basedir={home}/", f"--tmpdir={place}/tmp", f"--logdir={place}/log"]
        command += [f"--test-file={file}", *([f"--result-file={result}"] if result else [])]
        status, said = attempt(command, 180, cwd=home, env=environment)
        return {0: "pass", 62: "skip"}.get(status, "fail"), said[-1500:] if status not in (0, 62) else ""


ALL = [PyMySQL(), MySQLClient(), MariaDBConnector(), AioMySQL(), MySQL2(), NodeMySQL(), MySQLAsync(), MySQLAsyncCompressed(), ClientTest(), Regression()]
