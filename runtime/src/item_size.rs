//! How many bytes an item has, as `DynamoDB` counts them.

use millrace_core::{Attribute, Attributes};

/// The most bytes of an item, 400 KB, with the names of its attributes
/// ([quotas](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items)).
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// An item's size in bytes: never less than `DynamoDB` counts, and a few bytes more where the item
/// contains numbers. So `DynamoDB` takes every item of up to [`MAX_ITEM_BYTES`].
///
/// A name or a string counts as its UTF-8 bytes; a number as about a byte for two significant
/// digits, and one; a Boolean or null as one; a list or map as 3, and one more for each element
/// ([item sizes](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html)).
/// The "about" is covered by a byte more, and another for a sign.
#[must_use]
pub fn item_size(item: &Attributes) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &Attribute) -> usize {
    match value {
        Attribute::Text(text) => text.len(),
        Attribute::Number(number) => {
            let digits = number.bytes().filter(u8::is_ascii_digit).count();
            digits / 2 + 2 + usize::from(number.starts_with('-'))
        }
        // The size of another type isn't kept on reading, and the functions write no such value.
        Attribute::Bool(_) | Attribute::Null | Attribute::Other(_) => 1,
        Attribute::List(elements) => {
            3 + elements.iter().map(|it| 1 + value_size(it)).sum::<usize>()
        }
        Attribute::Map(members) => 3 + members.len() + item_size(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(name: &str, value: Attribute) -> usize {
        item_size(&[(name.to_owned(), value)].into())
    }

    #[test]
    fn a_string_counts_as_its_bytes_and_its_names() {
        assert_eq!(item_size(&Attributes::new()), 0);
        assert_eq!(size("Id", Attribute::text("")), 2);
        assert_eq!(size("Id", Attribute::text("abc")), 5);
        assert_eq!(size("é", Attribute::text("€𝄞")), 2 + 3 + 4);
        let two = [("A", "x"), ("BC", "yz")];
        let two = two.map(|(name, value)| (name.to_owned(), Attribute::text(value)));
        assert_eq!(item_size(&two.into()), 6);
        let largest = size("Id", Attribute::text("x".repeat(409_598)));
        assert_eq!(largest, MAX_ITEM_BYTES);
    }

    #[test]
    fn a_list_or_a_map_counts_with_its_elements() {
        assert_eq!(size("Id", Attribute::Bool(true)), 3);
        assert_eq!(size("Id", Attribute::Null), 3);
        assert_eq!(size("Id", Attribute::List(Vec::new())), 5);
        let list = Attribute::List(vec![Attribute::text("abc"), Attribute::Null]);
        assert_eq!(size("Id", list.clone()), 2 + 3 + (1 + 3) + (1 + 1));
        let map = [
            ("A".to_owned(), Attribute::text("x")),
            ("BC".to_owned(), list),
        ];
        assert_eq!(
            size("Id", Attribute::Map(map.into())),
            2 + 3 + (1 + 1 + 1) + (1 + 2 + 9)
        );
    }

    #[test]
    fn a_number_never_counts_as_less_than_dynamodb_says() {
        for (number, least) in [
            ("0", 2),
            ("7", 2),
            ("42", 2),
            ("123", 3),
            ("-123", 4),
            ("1.234", 4),
            ("9007199254740991", 9),
            ("-99999999999999999999999999999999999999", 21),
        ] {
            let counted = size("", Attribute::Number(number.to_owned()));
            assert!(
                (least..=least + 1).contains(&counted),
                "{number}: {counted}"
            );
        }
    }
}
