"""Makes MiniStack's Athena answer as the Glue catalogue says.

MiniStack executes the text of a query in DuckDB's SQL, infers the types of JSON lines from the data, and doesn't read
views. This module replaces that part. sqlglot translates the query from Athena's SQL. Each table and view of the
catalogue that the query names becomes a view of DuckDB, with the columns and types of the catalogue.

The module also replaces the conversion of Firehose records to Parquet, because MiniStack inserts row by row: 1,000
events took 2 s.

Both replaced parts are internal to MiniStack. If one of them changes, the emulator doesn't start.
"""

import asyncio
import base64
import contextlib
import inspect
import json
import pathlib
import re
import shutil
import tempfile
from datetime import datetime
from decimal import Decimal

import duckdb
import sqlglot
from ministack.services import athena, firehose, glue
from ministack.services.athena import (
    _DUCKDB_TYPE_MAP,
    _data_format,
    _materialize_table_files,
    _start_query_execution,
    error_response_json,
)
from ministack.services.firehose import _conversion_error, _json_documents
from sqlglot import expressions
from sqlglot.errors import ParseError, TokenError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.scope import traverse_scope

# Times are in UTC, a quotient of integers is an integer, and nulls are the last in an order.
AS_ATHENA = "SET TimeZone = 'UTC'; SET integer_division = true; SET default_null_order = 'nulls_last'"

# The text of a view in the catalogue.
PRESTO_VIEW = re.compile(r"/\* Presto View: (.*) \*/")

# A member's name with a capital letter. Two strings of a JSON text never have only a word between them, so this is no
# part of a value.
CAPITALISED = re.compile(rb'"[a-z0-9_]*[A-Z]\w*"(?=\s*:)')

# The hidden column that contains the object of a row.
PATH = "$path"


class Query:
    """A query with its own DuckDB, which has the tables and views that the query names."""

    def __init__(self):
        self.connection = duckdb.connect(":memory:")
        # DuckDB divides as it was set before the call that executes the query.
        self.connection.execute(AS_ATHENA)
        self.defined = set()
        # The tables' locations in S3, by the folders that contain copies of their objects.
        self.locations = {}

    def close(self):
        self.connection.close()
        for folder in self.locations:
            shutil.rmtree(folder, ignore_errors=True)

    def answer(self, sql, database):
        """The result in MiniStack's form."""
        tree = parse(sql)
        if not isinstance(tree, (expressions.Query, expressions.Values)):
            raise ValueError("the local Athena executes one SELECT, CREATE EXTERNAL TABLE or DROP TABLE")
        try:
            self.define(tree, database)
            result = self.connection.execute(translate(tree))
            rows = result.fetchall()
        except duckdb.Error as error:
            message = str(error)
            for folder, location in self.locations.items():
                message = message.replace(folder, location)
            raise ValueError(message) from error
        types = [str(column[1]).upper().split("(")[0] for column in result.description]
        return {
            "columns": [column[0] for column in result.description],
            "column_types": [_DUCKDB_TYPE_MAP.get(kind, "varchar") for kind in types],
            "rows": [[None if value is None else text(value) for value in row] for row in rows],
        }

    def define(self, tree, database):
        """Creates the tables and views of the catalogue that a statement names, and names them in full in it."""
        path = any(column.name == PATH for column in tree.find_all(expressions.Column))
        for named in named_tables(tree):
            key = ((named.db or database).lower(), named.name.lower())
            table = glue._tables.get("/".join(key))
            if table is None:
                name = ".".join(key) if named.name else named.sql(dialect="athena")
                raise LookupError(f"TABLE_NOT_FOUND: Table 'awsdatacatalog.{name}' does not exist")
            named.set("catalog", None)
            named.set("db", expressions.to_identifier(key[0], quoted=True))
            if key not in self.defined:
                self.defined.add(key)
                schema, name = map(identifier, key)
                rows = self.view(table) or self.rows(table, path)
                self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; CREATE VIEW {schema}.{name} AS {rows}")

    def view(self, table):
        """The statement of a view of the catalogue, or None if it's a table."""
        view = PRESTO_VIEW.fullmatch(table.get("ViewOriginalText") or "")
        if view is None:
            return None
        definition = json.loads(base64.b64decode(view[1]))
        tree = parse(definition["originalSql"])
        self.define(tree, definition["schema"])
        return translate(tree)

    def rows(self, table, path):
        """A statement that reads a table's objects with the columns and types of the catalogue.

        It has the column `$path` only if `path`, because no column of DuckDB is hidden from `SELECT *`.
        """
        stored = columns(table["StorageDescriptor"]["Columns"])
        keys = columns(table.get("PartitionKeys") or [])
        every = stored | keys | ({PATH: "string"} if path else {})

        # The union has each column with its type, also one that no object has.
        nulls = (f"CAST(NULL AS {duckdb_type(kind)}) AS {identifier(name)}" for name, kind in every.items())
        union = f"SELECT {', '.join(nulls)} WHERE false"
        location = table["StorageDescriptor"]["Location"].rstrip("/")
        folders = []
        files = _materialize_table_files(location, folders)
        self.locations |= dict.fromkeys(folders, location)
        # Athena doesn't see an object outside of the partitions.
        files = [file for file in files if all(f"/{key}=" in file for key in keys)]
        if files:
            options = f"hive_partitioning = true, hive_types = {struct(keys)}" if keys else "hive_partitioning = false"
            selected = "*"
            if path:
                options += f", filename = {literal(PATH)}"
                name, folder = identifier(PATH), literal(folders[0])
                selected = f"* REPLACE (replace({name}, {folder}, {literal(location)}) AS {name})"
            union += f" UNION ALL BY NAME SELECT {selected} FROM {reader(table, files, stored, options)}"
        return f"SELECT {', '.join(map(identifier, every))} FROM ({union})"


def reader(table, files, types, options):
    """The function of DuckDB that reads these copies of objects."""
    paths = f"[{', '.join(map(literal, files))}]"
    match _data_format(table):
        case "json":
            for file in map(pathlib.Path, files):
                file.write_bytes(in_lower_case(file.read_bytes()))
            return f"read_json({paths}, format = 'newline_delimited', columns = {struct(types)}, {options})"
        case "parquet":
            return f"read_parquet({paths}, union_by_name = true, {options})"
        case other:
            raise ValueError(f"the local Athena reads tables of JSON lines and of Parquet, not of {other}")


def named_tables(tree):
    """The tables and views that a statement names. A name of its WITH clause is no table."""
    sources = (source for scope in traverse_scope(tree) for source in scope.sources.values())
    return [source for source in sources if isinstance(source, expressions.Table)]


def parse(sql):
    try:
        return sqlglot.parse_one(sql, read="athena")
    except ParseError as error:
        # The first one; its own text has escape sequences for a terminal.
        found = error.errors[0]
        raise ValueError(f"SYNTAX_ERROR: line {found['line']}:{found['col']}: {found['description']}") from error


def translate(tree):
    """The statement in DuckDB's SQL, with the results of Trino where DuckDB's are others."""
    tree = annotate_types(tree, dialect="athena")
    arithmetic = (expressions.Add, expressions.Sub, expressions.DateAdd, expressions.DateSub)
    dates = [node for node in tree.find_all(*arithmetic) if node.is_type(expressions.DType.DATE)]
    # sqlglot would also translate by types, and give some functions others than Trino's.
    for node in tree.walk():
        node.type = None
    # The innermost first, because a cast contains a copy. A date and an interval are a timestamp in DuckDB.
    for node in reversed(dates):
        node.replace(expressions.cast(node.copy(), expressions.DType.DATE))
    for node in list(tree.find_all(expressions.Cast, expressions.DateDiff, expressions.Format)):
        match node:
            case expressions.Cast() if node.to.sql() == "DECIMAL" and node.this.is_string:
                # A literal with its own number of digits. DuckDB's type has three after the point.
                node.replace(expressions.Literal.number(node.this.name))
            case expressions.Cast() if node.to.sql() == "DECIMAL":
                # Trino's type has no digits after the point.
                node.to.replace(expressions.DataType.build("decimal(38, 0)"))
            case expressions.DateDiff():
                # Trino counts complete units. DuckDB's date_diff counts their boundaries.
                unit = expressions.Literal.string(node.text("unit"))
                node.replace(function("date_sub", unit, node.expression, node.this))
            case expressions.Format():
                # DuckDB's format has other patterns.
                node.replace(function("printf", node.this, *node.expressions))
    tree = tree.transform(with_columns_of_rows)
    return tree.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)


def with_columns_of_rows(node):
    """An UNNEST of rows as Trino's: with a column for each field. DuckDB's has one column with a struct."""
    alias = node.args.get("alias") if isinstance(node, expressions.Unnest) else None
    if alias is None or len(node.expressions) != 1 or len(alias.columns) < 2:
        return node
    rows = node.expressions[0].sql(dialect="duckdb")
    fields = sqlglot.parse_one(f"SELECT UNNEST({rows}, max_depth := 2)", read="duckdb")
    return expressions.Subquery(this=fields, alias=alias.copy())


def function(name, *arguments):
    return expressions.Anonymous(this=name, expressions=list(arguments))


def text(value):
    """A value as the text of Athena's result."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Decimal():
            return f"{value:f}"
        case datetime():
            zone = " UTC" if value.tzinfo else ""
            return value.replace(tzinfo=None).isoformat(" ", "milliseconds") + zone
        case dict():
            return "{" + ", ".join(f"{name}={text(member)}" for name, member in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(text, value)) + "]"
        case _:
            return str(value)


def columns(described):
    """The catalogue's types by the columns' names, all in lower case, as Athena compares them."""
    return {column["Name"].lower(): column["Type"].lower() for column in described}


def in_lower_case(documents):
    """JSON documents with the names of their members in lower case, because DuckDB compares names as they are."""
    return CAPITALISED.sub(lambda name: name[0].lower(), documents)


def duckdb_type(kind):
    return expressions.DataType.build(kind, dialect="hive").sql(dialect="duckdb", identify=True)


def identifier(name):
    return expressions.to_identifier(name, quoted=True).sql(dialect="duckdb")


def literal(value):
    return expressions.Literal.string(value).sql(dialect="duckdb")


def struct(types):
    """Types by name, as an option of a reader."""
    return "{" + ", ".join(f"{literal(name)}: {literal(duckdb_type(kind))}" for name, kind in types.items()) + "}"


def with_parameters(sql, parameters):
    """The query with the literals in place of the question marks."""
    marks = [
        token
        for token in sqlglot.tokenize(sql, read="athena")
        if token.token_type == sqlglot.TokenType.PLACEHOLDER
    ]
    if len(marks) != len(parameters):
        raise ValueError(f"the query has {len(marks)} parameters, and there are {len(parameters)} values")
    # The last one first, because a replacement moves what comes after it.
    for mark, parameter in reversed(list(zip(marks, parameters))):
        tree = parse(parameter)
        value = tree.this if isinstance(tree, (expressions.Neg, expressions.Cast)) else tree
        if not isinstance(value, (expressions.Literal, expressions.Boolean, expressions.Null)):
            raise ValueError(f"the parameter isn't a literal of SQL: {parameter}")
        sql = sql[: mark.start] + tree.sql(dialect="athena") + sql[mark.end + 1 :]
    return sql


def start_query_execution(data):
    """MiniStack's function ignores the values of parameters."""
    if parameters := data.get("ExecutionParameters"):
        try:
            data = data | {"QueryString": with_parameters(data["QueryString"], parameters)}
        except (ValueError, TokenError) as error:
            return error_response_json("InvalidRequestException", str(error), 400)
    return _start_query_execution(data)


async def run_duckdb(query, database, catalog=None):
    """Executes a query in a thread, so that the emulator answers other requests meanwhile."""

    def run():
        with contextlib.closing(Query()) as running:
            return running.answer(query, database)

    return await asyncio.to_thread(run)


def convert_to_parquet(conversion, data):
    """A Firehose record of JSON documents as a Parquet object with the columns of the catalogue's table."""
    serializer = conversion["OutputFormatConfiguration"]["Serializer"]
    if "ParquetSerDe" not in serializer:
        raise _conversion_error("unsupported")
    schema = conversion["SchemaConfiguration"]
    table = glue._tables.get(f"{schema['DatabaseName']}/{schema['TableName']}")
    if table is None:
        raise _conversion_error("table")
    # Raises the error of a record that isn't a sequence of JSON objects.
    _json_documents(data)
    types = struct(columns(table["StorageDescriptor"]["Columns"]))
    compression = literal(serializer["ParquetSerDe"].get("Compression", "SNAPPY"))
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(duckdb.connect(":memory:")) as connection:
        documents, rows = pathlib.Path(folder, "documents"), pathlib.Path(folder, "rows")
        documents.write_bytes(in_lower_case(data))
        read = f"read_json({literal(str(documents))}, format = 'unstructured', columns = {types})"
        options = f"FORMAT parquet, COMPRESSION {compression}"
        try:
            connection.execute(f"COPY (SELECT * FROM {read}) TO {literal(str(rows))} ({options})")
        except duckdb.Error as error:
            raise _conversion_error("mismatch") from error
        return rows.read_bytes()


def replace(module, name, caller, replacement):
    """Replaces a function of MiniStack, if `caller` calls it and it has the parameters of the replacement."""
    original = getattr(module, name)
    called = name in getattr(module, caller).__code__.co_names
    if not called or inspect.signature(original) != inspect.signature(replacement):
        raise ImportError(f"catalogue.py can't replace {module.__name__}.{name}: MiniStack has changed")
    setattr(module, name, replacement)


def install():
    replace(athena, "_run_duckdb", "_execute_query", run_duckdb)
    replace(athena, "_start_query_execution", "handle_request", start_query_execution)
    replace(firehose, "_convert_to_parquet", "_deliver_to_s3", convert_to_parquet)
