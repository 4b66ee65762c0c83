"""The package's files, and the code of its README."""

import os
import re
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from support import PACKAGE, ROOT

from millrace_consumer.generate import generate

README = (PACKAGE / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {
    "POSITIONS_TABLE": "positions",
    "WITHDRAWALS_TABLE": "withdrawals",
    "UNDECODABLE_TABLE": "undecodable",
}


class Files(unittest.TestCase):
    def test_the_licences_are_those_of_the_repository(self):
        for name in ("LICENSE-MIT", "LICENSE-APACHE"):
            self.assertEqual((PACKAGE / name).read_bytes(), (ROOT / name).read_bytes())

    def test_the_package_imports_neither_boto3_nor_botocore(self):
        for file in (PACKAGE / "src").rglob("*.py"):
            self.assertNotRegex(file.read_text(encoding="utf-8"), r"(?m)^\s*(import|from) boto")


class Readme(unittest.TestCase):
    def test_the_quick_start_and_its_test_work(self):
        app, test = (
            re.search(pattern, README, re.DOTALL).group(1)
            for pattern in (r"```python\n(   import os\n.*?)```", r"```python\n(import unittest\n.*?)```")
        )
        app = re.sub(r"(?m)^   ", "", app)
        with tempfile.TemporaryDirectory() as folder:
            schemas = ROOT / "contracts" / "schemas"
            (Path(folder) / "events.py").write_text(generate(schemas), encoding="utf-8")
            sys.path.insert(0, folder)
            self.addCleanup(sys.path.remove, folder)
            self.addCleanup(sys.modules.pop, "events", None)

            def create_handler(client):
                boto3 = types.SimpleNamespace(client=lambda name: client)
                with mock.patch.dict(sys.modules, {"boto3": boto3}):
                    names = {}
                    exec(compile(app, "app.py", "exec"), names)
                return names["handler"]

            module = types.SimpleNamespace(create_handler=create_handler)
            with mock.patch.dict(sys.modules, {"app": module}), mock.patch.dict(os.environ, ENVIRONMENT):
                names = {"__name__": "readme"}
                exec(compile(test, "test_app.py", "exec"), names)
                with self.assertNoLogs("millrace_consumer", "CRITICAL"):
                    result = names["Faults"]("test_each_withdrawal_is_written_exactly_once").run()
            self.assertEqual((result.testsRun, result.errors, result.failures), (1, [], []))


if __name__ == "__main__":
    unittest.main()
