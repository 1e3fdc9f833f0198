//! Which column of a file is what.

use super::records::Cells;
use super::statement::Named;
use dunlin_client::Columns;
use dunlin_cql::name::Quoted;
use dunlin_types::ConflictMode;

/// What a column of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Contexts: rows of one key and one context that follow one another are siblings.
    Context,
    /// Seconds that values have left to live; empty: for ever.
    Ttl,
}

impl Field {
    const ALL: [Field; 4] = [Field::Key, Field::Value, Field::Context, Field::Ttl];

    /// As a header calls it.
    pub fn name(self, columns: &Columns) -> String {
        match self {
            Field::Key => columns.key.clone(),
            Field::Value => columns.value.clone(),
            Field::Context => format!("context({})", columns.value),
            Field::Ttl => format!("ttl({})", columns.value),
        }
    }

    /// As a SELECT calls it.
    pub fn item(self, columns: &Columns) -> String {
        match self {
            Field::Key => columns.key_name(),
            Field::Value => columns.value_name(),
            Field::Context => format!("CONTEXT({})", columns.value_name()),
            Field::Ttl => format!("TTL({})", columns.value_name()),
        }
    }
}

/// What each column of a file holds, in the file's order. Key and value are among them, and nothing twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping(Vec<Field>);

impl Mapping {
    /// Key and value.
    pub fn plain() -> Mapping {
        Mapping(vec![Field::Key, Field::Value])
    }

    /// As a statement names them.
    pub fn of_statement(columns: &Columns, named: &[Named]) -> Result<Mapping, String> {
        if named.is_empty() {
            return Ok(Mapping::plain());
        }
        let field = |named: &Named| match named {
            Named::Column(name) if *name == columns.key => Some(Field::Key),
            Named::Column(name) if *name == columns.value => Some(Field::Value),
            Named::Context(name) if *name == columns.value => Some(Field::Context),
            Named::Ttl(name) if *name == columns.value => Some(Field::Ttl),
            _ => None,
        };
        let shown = |named: &Named| match named {
            Named::Column(name) => Quoted(name).to_string(),
            Named::Context(name) => format!("CONTEXT({})", Quoted(name)),
            Named::Ttl(name) => format!("TTL({})", Quoted(name)),
        };
        let fields = named.iter().map(|named| field(named).ok_or_else(|| unknown(&shown(named), columns)));
        Mapping(fields.collect::<Result<_, _>>()?).checked(columns)
    }

    /// As a file's first row names them; `named` is what the statement says of it.
    pub fn of_header(columns: &Columns, cells: &Cells, named: &[Named]) -> Result<Mapping, String> {
        let field = |name: &str| {
            let is = |field: &&Field| field.name(columns) == name;
            let is_but_for_case = |field: &&Field| field.name(columns).eq_ignore_ascii_case(name);
            Field::ALL.iter().find(is).or_else(|| Field::ALL.iter().find(is_but_for_case)).copied()
        };
        let mut fields = Vec::new();
        for i in 0..cells.len() {
            let name = cells.text(i)?;
            fields.push(field(&name).ok_or_else(|| unknown(&format!("{name:?}"), columns))?);
        }
        let found = Mapping(fields).checked(columns)?;
        if !named.is_empty() && Mapping::of_statement(columns, named)? != found {
            let names: Vec<String> = found.fields().map(|field| field.item(columns)).collect();
            return Err(format!("the header says ({}), the statement otherwise", names.join(", ")));
        }
        Ok(found)
    }

    fn checked(self, columns: &Columns) -> Result<Mapping, String> {
        for field in Field::ALL {
            let times = self.0.iter().filter(|other| **other == field).count();
            let is_needed = matches!(field, Field::Key | Field::Value);
            if times > 1 {
                return Err(format!("{} is there twice", field.item(columns)));
            }
            if times == 0 && is_needed {
                let (key, value) = (columns.key_name(), columns.value_name());
                return Err(format!(
                    "{} is missing among the columns; the table has ({key}, {value})",
                    field.item(columns)
                ));
            }
        }
        if self.place(Field::Context).is_some() && columns.conflicts == ConflictMode::LastWriteWins {
            return Err("a last_write_wins table has no contexts".to_owned());
        }
        Ok(self)
    }

    /// In the file's order.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.iter().copied()
    }

    /// Columns of the file.
    pub fn width(&self) -> usize {
        self.0.len()
    }

    /// Where a field stands.
    pub fn place(&self, field: Field) -> Option<usize> {
        self.0.iter().position(|other| *other == field)
    }

    /// The place of the keys.
    pub fn key(&self) -> usize {
        self.place(Field::Key).expect("it was checked")
    }

    /// The place of the values.
    pub fn value(&self) -> usize {
        self.place(Field::Value).expect("it was checked")
    }
}

fn unknown(name: &str, columns: &Columns) -> String {
    let names: Vec<String> = Field::ALL.iter().map(|field| field.item(columns)).collect();
    format!("{name} is none of the columns {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::dialect::Dialect;
    use crate::copy::records::Records;
    use dunlin_types::schema::{KeyType, ValueType};

    fn columns() -> Columns {
        Columns {
            key: "Sku".into(),
            key_type: KeyType::Text,
            value: "cents".into(),
            value_type: ValueType::Bigint,
            conflicts: ConflictMode::Siblings,
        }
    }

    fn header(line: &str) -> Cells {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut records = Records::new(line.as_bytes(), Dialect::default());
        runtime.block_on(records.next()).unwrap().unwrap().cells.unwrap()
    }

    #[test]
    fn a_header_maps_by_name() {
        let of = |line: &str, named: &[Named]| Mapping::of_header(&columns(), &header(line), named);
        assert_eq!(of("cents,Sku", &[]).unwrap().0, [Field::Value, Field::Key]);
        let all = of("context(cents),sku,CENTS,TTL(cents)", &[]).unwrap();
        assert_eq!(all.0, [Field::Context, Field::Key, Field::Value, Field::Ttl]);
        let named = [Named::Column("cents".into()), Named::Column("Sku".into())];
        assert_eq!((of("cents,Sku", &named).unwrap().key(), all.value()), (1, 2));
        for (line, part) in [
            ("lemma,gloss", "\"lemma\" is none of the columns \"Sku\", cents, CONTEXT(cents)"),
            ("Sku", "cents is missing"),
            ("Sku,note,cents", "\"note\" is none of the columns"),
            ("Sku,cents,cents", "cents is there twice"),
        ] {
            let error = of(line, &[]).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let error = of("Sku,cents", &named).unwrap_err();
        assert!(error.contains("the header says (\"Sku\", cents)"), "{error}");
    }

    #[test]
    fn contexts_are_for_siblings() {
        let named =
            [Named::Column("Sku".into()), Named::Column("cents".into()), Named::Context("cents".into())];
        assert!(Mapping::of_statement(&columns(), &named).is_ok());
        let lww = Columns { conflicts: ConflictMode::LastWriteWins, ..columns() };
        assert!(Mapping::of_statement(&lww, &named).unwrap_err().contains("last_write_wins"));
        assert!(Mapping::of_statement(&columns(), &named[1..]).unwrap_err().contains("\"Sku\" is missing"));
    }
}
