"""The package's files, and the code of its README."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from support import PACKAGE, ROOT, TYPES

from millrace_consumer import DynamoDBPositions, Position
from millrace_consumer.generate import generate
from millrace_consumer.testing import FakeDynamoDB

README = (PACKAGE / "README.md").read_text(encoding="utf-8")


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
            for pattern in (r"```python\n(   import os\n.*?)   ```", r"```python\n(import logging\n.*?)```")
        )
        app = re.sub(r"(?m)^   ", "", app)
        with tempfile.TemporaryDirectory() as folder:
            files = {"app.py": app, "test_app.py": test, "events.py": generate(ROOT / "contracts" / "schemas")}
            if importlib.util.find_spec("boto3") is None:
                files["boto3.py"] = "def client(name):\n    return None\n"
            for name, text in files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "unittest", "test_app"],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE / "src")},
                capture_output=True,
                text=True,
            )
            self.assertRegex(done.stderr, r"(?s)^\.\n-+\nRan 1 test .*\n\nOK\n$")
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_the_other_code_works(self):
        """The selection of types, and reading a state."""
        types, state = (
            re.search(rf"```python\n({start}.*?)```", README, re.DOTALL).group(1) for start in ("USED = ", "item = ")
        )
        scope = {"events": SimpleNamespace(TYPES=dict.fromkeys([*TYPES, ("BalanceWithdrawn", 2)], object))}
        exec(types, scope)
        used = [("BalanceCredited", 1), ("BalanceWithdrawn", 1), ("BalanceWithdrawn", 2)]
        self.assertEqual(list(scope["TYPES"]), used)

        client = FakeDynamoDB({"positions": ["Subject"]})
        positions = DynamoDBPositions(client, "positions")
        positions.save("a", Position(), Position(1, "500"), [])
        positions.save("b", Position(), Position(1), [])
        with mock.patch.dict(os.environ, {"POSITIONS_TABLE": "positions"}):
            for account, balance in {"a": 500, "b": 0, "c": 0}.items():
                scope = {"client": client, "account": account, "json": json, "os": os}
                exec(state, scope)
                self.assertEqual(scope["balance"], balance)


if __name__ == "__main__":
    unittest.main()
