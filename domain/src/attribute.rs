//! A table's item: [`millrace_core::attribute`].

pub use millrace_core::attribute::*;

/// An attribute of any type.
#[cfg(test)]
pub(crate) fn any_attribute() -> impl proptest::strategy::Strategy<Value = Attribute> {
    use proptest::prelude::*;

    prop_oneof![
        "[A-Z]{0,8}".prop_map(Attribute::Text),
        any::<String>().prop_map(Attribute::Text),
        "-?[0-9]{0,20}(\\.[0-9]{0,3})?".prop_map(Attribute::Number),
        any::<i64>().prop_map(Attribute::number),
        Just(Attribute::Other("M")),
    ]
}
