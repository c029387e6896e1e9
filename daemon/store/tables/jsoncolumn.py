"""The type of a JSON column, alike on both databases."""

from typing import Any

from sqlalchemy import JSON as _JSON
from sqlalchemy import Dialect, TypeDecorator
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine


class JsonColumn(TypeDecorator[Any]):
    """JSON: `jsonb` on PostgreSQL, whose dialect is loaded where one is used."""

    impl = _JSON
    cache_ok = True

    def __init__(self, *, none_as_null: bool = False) -> None:
        super().__init__(none_as_null=none_as_null)
        self.none_as_null = none_as_null

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return super().load_dialect_impl(dialect)
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=self.none_as_null))

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)


JSON = JsonColumn()
JSON_OR_NULL = JsonColumn(none_as_null=True)
