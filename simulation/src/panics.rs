//! Panics of the domain's code: whenever it decodes certain rows, and anywhere as a fault.
//!
//! Functions run with [`Panicking`] around the scenario's domain. It panics only in the functions that isolate
//! panics. For the writer, the reader and the operators' commands, such a row is undecodable.

use std::sync::Arc;

use millrace_core::columns::Columns;
use millrace_core::lake::Column;
use millrace_core::settings::Setting;
use millrace_core::{Attribute, Attributes, Domain, Project, Refusal, row};

use super::faults::Fault;
use super::functions::{Function as _, ProjectorFunction, TranslatorFunction};
use super::invocation::Invocation;
use super::reconciler::RECONCILER;
use super::sabotage::Sabotage;
use super::sim::Sim;

/// The column that makes the domain's code panic when it decodes the row.
const COLUMN: &str = "Panics";
/// The functions that isolate panics, and in which the domain's code panics.
const ISOLATING: [&str; 3] = [
    TranslatorFunction::NAME,
    ProjectorFunction::NAME,
    RECONCILER,
];

tokio::task_local! {
    /// The invocation whose code runs.
    pub(crate) static RUNNING: Running;
}

/// The invocation in which the domain's code runs.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) sim: Arc<Sim>,
    pub(crate) invocation: Arc<Invocation>,
}

/// The scenario's domain, whose code panics.
#[derive(Debug, Clone)]
pub(crate) struct Panicking<D>(pub(crate) D);

/// Changes a row so that the domain's code panics when it decodes the row.
pub(crate) fn damage(row: &mut Attributes) {
    row.insert(COLUMN.to_owned(), Attribute::Bool(true));
}

/// Whether the domain's code panics when it decodes this row.
pub(crate) fn is_damaged(row: &Attributes) -> bool {
    row.contains_key(COLUMN)
}

impl Running {
    fn panic(&self) -> ! {
        let now = self.sim.elapsed();
        {
            let mut world = self.sim.world();
            let invocation = &self.invocation;
            let line = format_args!("{invocation} the domain's code panics");
            world.trace.note(now, line);
            world.count("panics of the domain's code", 1);
            if world.is_sabotaged(Sabotage::PanicNotIsolated) {
                self.invocation.end();
            }
        }
        // Without the process's panic hook, which would print each panic to standard error.
        std::panic::resume_unwind(Box::new("an injected panic"))
    }
}

/// Panics if the current invocation is of a function in [`ISOLATING`] and meets the condition.
fn panic_if(condition: impl FnOnce(&Running) -> bool) {
    let running = RUNNING.try_with(Clone::clone).ok();
    let running = running.filter(|it| ISOLATING.contains(&it.invocation.function()));
    if let Some(running) = running.filter(condition) {
        running.panic();
    }
}

/// Panics if the plan injects the fault now.
fn panic_as_fault() {
    panic_if(|running| {
        let now = running.sim.elapsed();
        running.sim.world().strikes(Fault::DomainPanics, now)
    });
}

impl<D: Domain> Domain for Panicking<D> {
    const COLLECTION: &'static str = D::COLLECTION;
    const ID: &'static str = D::ID;
    const OPENS: &'static str = D::OPENS;
    const BEGINS: &'static str = D::BEGINS;
    const BEGINS_PUBLIC: &'static str = D::BEGINS_PUBLIC;
    const SCHEMA: u32 = D::SCHEMA;
    const LAKE: &'static [(&'static str, Column)] = D::LAKE;

    type Command = D::Command;
    type Event = D::Event;
    type State = D::State;
    type PublicEvent = D::PublicEvent;
    type Context = D::Context;
    type Accepted = D::Accepted;

    fn decide(
        &self,
        state: Option<&Self::State>,
        command: Self::Command,
    ) -> Result<Vec<Self::Event>, Refusal> {
        self.0.decide(state, command)
    }

    fn evolve(state: Option<Self::State>, event: &Self::Event) -> Option<Self::State> {
        D::evolve(state, event)
    }

    fn publish(context: &mut Self::Context, event: &Self::Event) -> Option<Self::PublicEvent> {
        panic_as_fault();
        D::publish(context, event)
    }

    fn accepted(state: &Self::State) -> Self::Accepted {
        D::accepted(state)
    }

    fn settings(&self) -> Vec<Setting> {
        self.0.settings()
    }

    fn upcast(&self, schema: u32, row: &mut Columns<'_>) {
        panic_as_fault();
        if row.get(COLUMN).is_some() {
            panic_if(|_| true);
            row.set(row::TYPE, Attribute::text("PANICS"));
        }
        self.0.upcast(schema, row);
    }
}

impl<D: Project> Project for Panicking<D> {
    type View = D::View;
    type Entry = D::Entry;
    const HISTORY: &'static str = D::HISTORY;
    const VIEW_AT: Option<&'static str> = D::VIEW_AT;

    fn project(
        before: Option<&Self::View>,
        event: &Self::PublicEvent,
    ) -> (Self::View, Self::Entry) {
        panic_as_fault();
        D::project(before, event)
    }

    fn view_after(entry: &Self::Entry) -> Option<Self::View> {
        D::view_after(entry)
    }

    fn not_found() -> Refusal {
        D::not_found()
    }

    fn not_yet() -> Refusal {
        D::not_yet()
    }
}
