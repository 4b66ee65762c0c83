//! Given these events, when this command comes, then this happens.

use crate::domain::Domain;
use crate::refusal::Refusal;

/// An aggregate after some events.
#[derive(Debug)]
pub struct Given<D: Domain> {
    domain: D,
    state: Option<D::State>,
}

/// What a command led to.
#[derive(Debug)]
#[must_use = "nothing is checked before `then` or `then_refused`"]
pub struct When<D: Domain>(Result<Vec<D::Event>, Refusal>);

/// Begins a specification of a rule, with the events that happened before; none of them is an
/// aggregate that doesn't exist.
pub fn given<D: Domain>(domain: D, events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let state = events
        .into_iter()
        .fold(None, |state, event| D::evolve(state, &event));
    Given { domain, state }
}

impl<D: Domain> Given<D> {
    /// Decides a command.
    pub fn when(self, command: D::Command) -> When<D> {
        When(self.domain.decide(self.state.as_ref(), command))
    }
}

impl<D: Domain> When<D> {
    /// The command led to these events.
    ///
    /// # Panics
    /// If it didn't.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = D::Event>) {
        assert_eq!(self.0, Ok(events.into_iter().collect()));
    }

    /// The command was refused with this code.
    ///
    /// # Panics
    /// If it wasn't.
    #[track_caller]
    pub fn then_refused(self, code: &str) {
        match self.0 {
            Err(refusal) => assert_eq!(refusal.code, code),
            Ok(events) => panic!("refused with {code}: {events:?}"),
        }
    }
}
