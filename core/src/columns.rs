//! A row's columns, borrowed, for a domain to edit before they are read.

use std::borrow::Cow;

use crate::attribute::{Attribute, Attributes, BorrowedAttribute};

/// What an attribute that its item contains more than once is read as. Only using it is an error.
pub(crate) static REPEATED: BorrowedAttribute<'static> = Attribute::Other("a repeated attribute");

/// The columns of one row. Nothing is copied but what is edited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns<'a>(Vec<(Cow<'a, str>, BorrowedAttribute<'a>)>);

impl<'a> Columns<'a> {
    /// A column's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&BorrowedAttribute<'a>> {
        let (_, value) = self.0.iter().find(|(column, _)| column == name)?;
        Some(value)
    }

    /// A column's string; `None` if the column is missing or not a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Attribute::Text(text)) => Some(text),
            Some(_) | None => None,
        }
    }

    /// Adds a column or replaces its value.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: Attribute) {
        let name = name.into();
        self.remove(&name);
        self.0.push((name, value.into()));
    }

    /// Adds a column if it is missing.
    pub fn set_default(&mut self, name: &'static str, value: impl FnOnce() -> Attribute) {
        if self.get(name).is_none() {
            self.set(name, value());
        }
    }

    /// Renames a column, which replaces a column of the new name. A missing column stays missing.
    pub fn rename(&mut self, from: &str, to: &'static str) {
        if let Some(index) = self.position(from) {
            let (_, value) = self.0.swap_remove(index);
            self.remove(to);
            self.0.push((to.into(), value));
        }
    }

    /// Removes a column and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Attribute> {
        let (_, value) = self.0.swap_remove(self.position(name)?);
        Some(value.into_owned())
    }

    /// Names and values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BorrowedAttribute<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Removes all columns and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a column without looking for another one of its name.
    pub(crate) fn push(&mut self, name: Cow<'a, str>, value: BorrowedAttribute<'a>) {
        self.0.push((name, value));
    }

    /// Sorts by name, and replaces columns of the same name by one that can't be read.
    pub(crate) fn sort(&mut self) {
        self.0.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.0.dedup_by(|(later, _), (earlier, value)| {
            let is_repeated = later == earlier;
            if is_repeated {
                *value = REPEATED.clone();
            }
            is_repeated
        });
    }

    /// Adds these columns where none of their names are there.
    pub(crate) fn add_missing(&mut self, others: &mut Self) {
        for (name, value) in others.0.drain(..) {
            if self.get(&name).is_none() {
                self.0.push((name, value));
            }
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(column, _)| column == name)
    }
}

impl<'a> From<&'a Attributes> for Columns<'a> {
    fn from(attributes: &'a Attributes) -> Self {
        let borrowed = attributes
            .iter()
            .map(|(name, value)| (Cow::Borrowed(name.as_str()), value.into()));
        Self(borrowed.collect())
    }
}

impl<'a> From<Attributes<Cow<'a, str>>> for Columns<'a> {
    fn from(attributes: Attributes<Cow<'a, str>>) -> Self {
        Self(attributes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Attributes {
        [
            ("A".to_owned(), Attribute::text("a")),
            ("B".to_owned(), Attribute::number(1)),
        ]
        .into()
    }

    fn edited(edit: impl FnOnce(&mut Columns<'_>)) -> Attributes {
        let row = row();
        let mut columns = Columns::from(&row);
        edit(&mut columns);
        let owned = columns
            .iter()
            .map(|(name, value)| (name.to_owned(), value.clone().into_owned()));
        owned.collect()
    }

    #[test]
    fn columns_are_looked_up() {
        let row = row();
        let columns = Columns::from(&row);
        assert_eq!(columns.text("A"), Some("a"));
        assert_eq!(columns.text("B"), None);
        assert_eq!(columns.get("B"), Some(&Attribute::number(1).into()));
        assert_eq!(columns.get("C"), None);
    }

    #[test]
    fn columns_are_edited() {
        let text = |name: &str, value: &str| (name.to_owned(), Attribute::text(value));
        let b = || ("B".to_owned(), Attribute::number(1));
        assert_eq!(
            edited(|row| row.set("A", Attribute::text("x"))),
            [text("A", "x"), b()].into()
        );
        assert_eq!(
            edited(|row| {
                row.set_default("A", || Attribute::text("x"));
                row.set_default("C", || Attribute::text("c"));
            }),
            [text("A", "a"), b(), text("C", "c")].into()
        );
        assert_eq!(
            edited(|row| {
                row.rename("A", "B");
                row.rename("absent", "C");
            }),
            [text("B", "a")].into()
        );
        assert_eq!(
            edited(|row| {
                assert_eq!(row.remove("A"), Some(Attribute::text("a")));
                assert_eq!(row.remove("A"), None);
            }),
            [b()].into()
        );
    }

    #[test]
    fn sorted_columns_have_each_name_once() {
        let text = |value: &'static str| Attribute::Text(Cow::Borrowed(value));
        let mut columns = Columns::default();
        for (name, value) in [("B", "1"), ("A", "2"), ("C", "3"), ("A", "2"), ("A", "4")] {
            columns.push(name.into(), text(value));
        }
        columns.sort();
        let sorted: Vec<_> = columns.iter().collect();
        assert_eq!(
            sorted,
            [("A", &REPEATED), ("B", &text("1")), ("C", &text("3"))]
        );

        let mut keys = Columns::default();
        keys.push("B".into(), text("5"));
        keys.push("AB".into(), text("6"));
        columns.add_missing(&mut keys);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "B", "C", "AB"]);
        assert_eq!(columns.text("B"), Some("1"));
    }
}
