"""Reports what Athena would refuse in named queries, or what it and DuckDB execute differently.

Arguments: the files with the queries. Each problem is a line; the exit code is 1 if there are problems.
"""

import re
import sys

import sqlglot
from sqlglot import TokenType, exp

# Athena has no such syntax, or DuckDB executes it differently, so that a test with DuckDB proves nothing.
REFUSED_NODES = (
    exp.ApproxDistinct, exp.ApproxQuantile, exp.AtTimeZone, exp.Command, exp.DateAdd, exp.Div, exp.Fetch,
    exp.GenerateSeries, exp.ILike, exp.IntDiv, exp.Limit, exp.Offset, exp.Parameter, exp.Pivot, exp.Qualify,
    exp.TsOrDsAdd,
)
REFUSED_TOKENS = {TokenType.COLON, TokenType.DCOLON, TokenType.PARAMETER, TokenType.SEMICOLON}
REFUSED_FUNCTIONS = re.compile(
    r"\b(format|format_number|format_datetime|human_readable_seconds|numeric_histogram|parse_datetime|to_iso8601|try|"
    r"typeof|width_bucket)\s*\("
)
TABLES = {"events", "domain_events"}


def problems(sql):
    try:
        tokens = sqlglot.tokenize(sql, read="athena")
    except sqlglot.errors.SqlglotError as error:
        yield str(error.__cause__ or error)
        return
    for token in tokens:
        if token.token_type in REFUSED_TOKENS:
            yield f"line {token.line}: {token.text!r}"
    try:
        tree = sqlglot.parse_one(sql, read="athena")
    except sqlglot.errors.SqlglotError as error:
        yield str(error)
        return
    if function := REFUSED_FUNCTIONS.search(tree.sql(dialect="athena", comments=False).lower()):
        yield f"the function {function[1]}"
    if not isinstance(tree, exp.Select) or not tree.args.get("order"):
        yield "it isn't a SELECT with ORDER BY, so the order of its rows may change"
        return
    names = TABLES | {table.alias for table in tree.find_all(exp.CTE)}
    for node in tree.walk():
        yield from problems_of(node, names)


def problems_of(node, names):
    match node:
        case exp.Anonymous():
            yield f"the unknown function {node.name}"
        case exp.Placeholder() if not isinstance(node.find_ancestor(exp.Where, exp.Select), exp.Where):
            # https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html
            yield "a `?` outside of WHERE"
        case exp.Table() if node.name and node.name not in names:
            yield f"the unknown table {node.name}"
        case exp.DateDiff() if not (node.this.is_type("date") and node.expression.is_type("date")):
            # Of times, Athena counts full units, and DuckDB boundaries.
            yield f"date_diff of other values than dates: {node.sql()}"
        case exp.Select():
            for column in node.expressions:
                is_plain = isinstance(column, exp.Column) and not column.table
                if not (is_plain or isinstance(column, exp.Alias)):
                    yield f"a column without AS: {column.sql()}"
        case _ if isinstance(node, REFUSED_NODES):
            yield f"the syntax {node.sql()}"


def main(files):
    found = False
    for file in files:
        with open(file, encoding="utf-8") as opened:
            for problem in problems(opened.read()):
                found = True
                print(f"{file}: {problem}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
