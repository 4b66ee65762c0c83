//! Given these events, when this command comes, then this happens: the harness of the decider's
//! tests.

use crate::account::{Command, Event, Refusal, State, decide, evolve};

pub(crate) struct Given(State);
pub(crate) struct When(Result<Vec<Event>, Refusal>);

pub(crate) fn given(events: impl IntoIterator<Item = Event>) -> Given {
    Given(
        events
            .into_iter()
            .fold(State::default(), |state, event| evolve(state, &event)),
    )
}

impl Given {
    pub(crate) fn when(self, command: &Command) -> When {
        When(decide(&self.0, command))
    }
}

impl When {
    #[track_caller]
    pub(crate) fn then(self, event: Event) {
        assert_eq!(self.0, Ok(vec![event]));
    }

    #[track_caller]
    pub(crate) fn refused(self, refusal: Refusal) {
        assert_eq!(self.0, Err(refusal));
    }
}
