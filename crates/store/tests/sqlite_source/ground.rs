//! An SQLite file with another program in it: a connection of its own, with settings of its own.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use gangline_reconcile::{
    ColumnKind, RowSource,
    conformance::{Ground, TableSpec},
};
use gangline_store::SqliteSource;
use rusqlite::Connection;

/// How the database is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Make {
    pub(super) encoding: &'static str,
    pub(super) journal: &'static str,
    /// What stands behind the columns of a table.
    pub(super) table_options: &'static str,
}

pub(super) const WAL: Make = Make { encoding: "UTF-8", journal: "wal", table_options: "" };

pub(super) struct SqliteGround {
    dir: tempfile::TempDir,
    make: Make,
}

impl SqliteGround {
    pub(super) fn new(make: Make) -> Self {
        let ground = Self { dir: tempfile::tempdir().unwrap(), make };
        let other = Connection::open(ground.path()).unwrap();
        other
            .execute_batch(&format!("PRAGMA synchronous = OFF; PRAGMA encoding = '{}'", make.encoding))
            .unwrap();
        other.execute_batch("CREATE TABLE first (x); DROP TABLE first").unwrap();
        let mode: String =
            other.pragma_update_and_check(None, "journal_mode", make.journal, |row| row.get(0)).unwrap();
        assert_eq!(mode, make.journal);
        let encoding: String = other.pragma_query_value(None, "encoding", |row| row.get(0)).unwrap();
        assert_eq!(encoding, make.encoding);
        ground
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// The source, as what it is.
    pub(super) fn source(&self) -> SqliteSource {
        SqliteSource::with_busy_timeout(&self.path(), Duration::from_millis(50))
    }

    /// A connection of the other program.
    pub(super) fn other(&self) -> Connection {
        let other = Connection::open(self.path()).unwrap();
        other.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF").unwrap();
        other
    }

    fn copy(&self) -> PathBuf {
        self.dir.path().join("copy.db")
    }

    fn create_table(&self, spec: &TableSpec) -> String {
        let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let key = &spec.columns[0].name;
        let mut parts = Vec::new();
        for column in &spec.columns {
            let kind = match column.kind {
                ColumnKind::Integer => "INTEGER",
                ColumnKind::Float => "REAL",
                ColumnKind::Number => "NUMERIC",
                ColumnKind::Boolean => "BOOLEAN",
                ColumnKind::Text => "TEXT",
                ColumnKind::Other => "BLOB",
            };
            let mut part = format!("{} {kind}", name(&column.name));
            if column.name == *key {
                part.push_str(" PRIMARY KEY");
            }
            if !column.is_nullable {
                part.push_str(" NOT NULL");
            }
            if let Some(default) = &column.default {
                part.push_str(&format!(" DEFAULT {default}"));
            }
            parts.push(part);
        }
        for (column, table) in &spec.references {
            let [column, table] = [column, table].map(|of| name(of));
            parts.push(format!("FOREIGN KEY ({column}) REFERENCES {table} ON DELETE CASCADE"));
        }
        for columns in &spec.unique {
            let columns: Vec<String> = columns.iter().map(|column| name(column)).collect();
            parts.push(format!("UNIQUE ({})", columns.join(", ")));
        }
        format!("CREATE TABLE {} ({}) {}", name(&spec.name), parts.join(", "), self.make.table_options)
    }
}

impl Ground for SqliteGround {
    fn create(&self, tables: &[TableSpec]) {
        let other = self.other();
        for table in tables {
            other.execute_batch(&self.create_table(table)).unwrap();
        }
    }

    fn execute(&self, sql: &str) {
        // No busy timeout: this program is failed by whoever holds it up.
        let other = self.other();
        other.busy_timeout(Duration::ZERO).unwrap();
        other.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {}", &sql[..sql.len().min(300)]));
    }

    fn execute_while(&self, sql: &str, meanwhile: &mut dyn FnMut()) {
        let mut other = self.other();
        let transaction = other.transaction().unwrap();
        transaction.execute_batch(sql).unwrap();
        meanwhile();
        transaction.commit().unwrap();
    }

    fn ask(&self, sql: &str) -> Option<String> {
        self.other().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn open(&self) -> Arc<dyn RowSource> {
        Arc::new(self.source())
    }

    fn backup(&self) {
        self.other().execute("VACUUM INTO ?1", [self.copy().to_str().unwrap()]).unwrap();
        // A copy made in this way is in rollback mode.
        let copy = Connection::open(self.copy()).unwrap();
        copy.pragma_update_and_check(None, "journal_mode", self.make.journal, |_| Ok(())).unwrap();
    }

    /// As an operator does it: the application is stopped, the copy takes the file's name.
    fn restore(&self) {
        for beside in ["app.db-wal", "app.db-shm", "app.db-journal"] {
            let _ = fs::remove_file(self.dir.path().join(beside));
        }
        fs::rename(self.copy(), self.path()).unwrap();
    }

    fn bad_values(&self) -> Vec<(ColumnKind, String)> {
        use ColumnKind::{Boolean, Float, Integer, Number, Text};
        let values = [
            (Integer, "'five'"),
            (Integer, "5.5"),
            (Integer, "9223372036854775808"),
            (Integer, "x'05'"),
            (Float, "'half'"),
            (Float, "9e999"),
            (Float, "-9e999"),
            (Number, "'many'"),
            (Number, "x'00'"),
            (Number, "9e999"),
            (Boolean, "2"),
            (Boolean, "'yes'"),
            (Boolean, "0.5"),
            (Text, "x'6f6b'"),
        ];
        let mut values: Vec<_> =
            values.into_iter().map(|(kind, literal)| (kind, literal.to_owned())).collect();
        if self.make.encoding == "UTF-8" {
            values.push((Text, "CAST(x'66ff6f' AS TEXT)".to_owned()));
            values.push((Text, "CAST(x'eda080' AS TEXT)".to_owned()));
        }
        values
    }

    fn writers_wait_for_readers(&self) -> bool {
        self.make.journal != "wal"
    }
}
