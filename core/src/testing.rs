//! What a domain's tests use: given/when/then for its rules, and a check of what the traits
//! [`Domain`](crate::Domain) and [`Project`](crate::Project) ask for beyond their types.

mod conformance;
mod specification;

pub use conformance::{assert_conforms, assert_projects, names_every_attribute};
pub use specification::{Given, When, given};
