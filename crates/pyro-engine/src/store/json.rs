//! Values that lie in the database as JSON text.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Self)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::Json;

    /// Times are seconds with a fraction: what is answered from memory and
    /// what is read back later is the same number.
    #[test]
    fn a_time_is_read_back_as_it_was_written() {
        let connection = Connection::open_in_memory().unwrap();
        for step in 0..10_000 {
            let time = 1_795_629_557.529_133 + f64::from(step) * 0.000_123_7;
            let back: Json<f64> = connection
                .query_row("SELECT ?1", [Json(time)], |row| row.get(0))
                .unwrap();
            assert_eq!(back.0.to_bits(), time.to_bits(), "{time}");
        }
    }
}
