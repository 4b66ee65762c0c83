//! The actions of a seed's clients, operators and other writers. They are drawn before the run begins, so that a
//! prefix of them is a shorter history of the same kind.

use fastrand::Rng;

use super::days::MAPPINGS;
use super::mapping::{OUTAGES, Outage};
use super::operators::{CURSOR_DAMAGES, CursorDamage, Operation, ReadModel};
use super::queries::Question;
use super::scenario::{Command, RowDamage, Scenario};

/// An action of a client, an operator, another writer or a service.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Open an aggregate, with an `Idempotency-Key` or without.
    Open {
        aggregate: usize,
        command: Command,
        has_key: bool,
        /// The caller, if the API authenticates its callers.
        caller: Option<u8>,
    },
    /// Send any other command.
    Send {
        aggregate: usize,
        command: Command,
        has_key: bool,
        /// Whether it has an `If-Match` of the state that the client may have read last.
        is_conditional: bool,
        /// Whether it has a causation id.
        has_cause: bool,
        /// The caller, if the API authenticates its callers.
        caller: Option<u8>,
        /// Whether another caller uses the same key at the same time for another command.
        is_key_shared: bool,
        /// The number of copies that are sent concurrently.
        copies: usize,
    },
    /// A writer other than Millrace's appends events to an aggregate of its own.
    Other { aggregate: usize, events: usize },
    /// A row of an aggregate is damaged, and another writer appends some rows after it.
    Poison {
        aggregate: usize,
        damage: Damage,
        further_rows: usize,
    },
    /// A view is damaged, and an operator replaces it a short time later.
    DamageView { aggregate: usize },
    /// An aggregate's damaged rows are repaired.
    Repair { aggregate: usize },
    /// Another producer puts a record that isn't an event of the aggregate on the domain stream.
    Intrude { aggregate: usize, foreign: bool },
    /// A shard of a stream is split, or two are merged.
    Reshard { table: bool, split: bool },
    /// A long aggregate of another writer exists before the stream.
    Legacy {
        aggregate: usize,
        events: u64,
        is_notified: bool,
    },
    /// Another writer opens many aggregates at the same time.
    Crowd { aggregates: usize },
    /// A client sends a query to the reader.
    Query {
        aggregate: usize,
        question: Question,
    },
    /// An operator runs a command.
    Operate(Operation),
    /// An aggregate's cursor is damaged.
    DamageCursor {
        aggregate: usize,
        damage: CursorDamage,
    },
    /// A mapping stops delivering until days have passed or all actions are executed.
    Break { mapping: usize, outage: Outage },
    /// A mapping doesn't deliver for this number of milliseconds.
    Suffer {
        mapping: usize,
        outage: Outage,
        lasts: u64,
    },
    /// This number of days passes.
    Days(u64),
    /// The client waits for this number of milliseconds.
    Pause(u64),
}

/// The damage of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// A damage of the domain's columns.
    Own(RowDamage),
    NoType,
    NumberType,
    UnknownType,
    NoTimestamp,
    WrongSequence,
    FutureSchema,
    FractionalVersion,
    /// The domain's code panics when it decodes the row.
    Panics,
    /// A row whose version is far ahead of the others is added and removed. Its notification announces more
    /// events than one invocation publishes.
    FarAhead,
    /// The row is missing, but the next one exists.
    Hole,
}

/// The damages of rows of any domain.
const DAMAGES: [Damage; 10] = [
    Damage::NoType,
    Damage::NumberType,
    Damage::UnknownType,
    Damage::NoTimestamp,
    Damage::WrongSequence,
    Damage::FutureSchema,
    Damage::FractionalVersion,
    Damage::Panics,
    Damage::FarAhead,
    Damage::Hole,
];

/// The number of callers, if the API authenticates them.
pub(crate) const CALLERS: u8 = 3;

/// The number of another writer's aggregates. Their numbers come after those of the other aggregates.
const OTHERS: usize = 3;

/// A seed's workload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) actions: Vec<Action>,
    /// The number of clients that execute actions concurrently.
    pub(crate) clients: usize,
    /// Whether the workload exceeds one page, call or batch.
    pub(crate) is_large: bool,
    /// The action before which a consumer starts from nothing.
    pub(crate) subscribes_at: Option<usize>,
}

impl Workload {
    pub(crate) fn draw(scenario: &dyn Scenario, rng: &mut Rng) -> Self {
        let hot = rng.usize(1..4);
        let aggregates = hot + rng.usize(2..10);
        let is_open = rng.bool();
        let mut actions = Vec::new();
        for aggregate in 0..aggregates {
            if aggregate < hot || rng.bool() {
                actions.push(Self::opening(scenario, rng, aggregate, is_open));
            }
        }
        for _ in 0..rng.usize(15..90) {
            let aggregate = if rng.u8(0..10) < 7 {
                rng.usize(0..hot)
            } else {
                rng.usize(0..aggregates + OTHERS)
            };
            actions.push(Self::action(scenario, rng, aggregate, aggregates, is_open));
        }
        // Two thirds of the damaged rows are repaired later.
        for index in (0..actions.len()).rev() {
            if let Action::Poison { aggregate, .. } = actions[index]
                && rng.u8(0..3) > 0
            {
                let later = rng.usize(index + 1..=actions.len());
                actions.insert(later, Action::Repair { aggregate });
            }
        }
        for _ in 0..rng.usize(0..8) {
            let query = Action::Query {
                aggregate: rng.usize(0..aggregates),
                question: Self::question(rng),
            };
            actions.insert(rng.usize(0..=actions.len()), query);
        }
        let is_large = rng.u8(0..20) == 0;
        if is_large {
            let large = if rng.bool() {
                Action::Legacy {
                    aggregate: aggregates + OTHERS,
                    events: rng.u64(1_200..3_000),
                    is_notified: rng.bool(),
                }
            } else {
                Action::Crowd {
                    aggregates: rng.usize(101..700),
                }
            };
            actions.insert(0, large);
        }
        if rng.u8(0..6) == 0 {
            let days = rng.usize(0..=actions.len());
            actions.insert(days, Action::Days(rng.u64(1..9)));
            if rng.u8(0..3) > 0 {
                let mapping = rng.usize(0..MAPPINGS.len());
                // Without `FailsAtStart`, because days of failed attempts show no more than an hour of them.
                let outage = [Outage::Disabled, Outage::NoPermission][rng.usize(0..2)];
                actions.insert(rng.usize(0..=days), Action::Break { mapping, outage });
            }
        }
        if rng.u8(0..8) == 0 {
            let suffer = Action::Suffer {
                mapping: rng.usize(0..MAPPINGS.len()),
                outage: OUTAGES[rng.usize(0..OUTAGES.len())],
                lasts: rng.u64(60_000..45 * 60_000),
            };
            actions.insert(rng.usize(0..=actions.len()), suffer);
        }
        let clients = rng.usize(1..6);
        let subscribes_at = (rng.u8(0..3) == 0).then(|| rng.usize(0..actions.len()));
        Self {
            actions,
            clients,
            is_large,
            subscribes_at,
        }
    }

    fn question(rng: &mut Rng) -> Question {
        match rng.u8(0..3) {
            0 => Question::View {
                at_least: rng.bool().then(|| rng.u64(0..3)),
            },
            1 => Question::History {
                limit: rng.u64(1..8),
            },
            _ => Question::ViewAt {
                ago: rng.i64(0..60_000),
            },
        }
    }

    fn opening(scenario: &dyn Scenario, rng: &mut Rng, aggregate: usize, is_open: bool) -> Action {
        Action::Open {
            aggregate,
            command: scenario.draw_opening(rng),
            has_key: rng.bool(),
            caller: (!is_open).then(|| rng.u8(0..CALLERS)),
        }
    }

    fn damage(scenario: &dyn Scenario, rng: &mut Rng) -> Damage {
        let own = scenario.row_damages();
        let drawn = rng.usize(0..own.len() + DAMAGES.len());
        match own.get(drawn) {
            Some(damage) => Damage::Own(*damage),
            None => DAMAGES[drawn - own.len()],
        }
    }

    fn operation(rng: &mut Rng, aggregate: usize) -> Operation {
        match rng.u8(0..4) {
            0 => Operation::Redrive {
                aggregate: rng.bool().then_some(aggregate),
                reset_cursor: rng.bool(),
            },
            1 => Operation::Republish {
                aggregate,
                from: rng.u64(1..6),
                is_resumed: rng.bool(),
            },
            2 => Operation::Rebuild {
                aggregate,
                model: ReadModel::View,
            },
            _ => Operation::Rebuild {
                aggregate,
                model: ReadModel::History,
            },
        }
    }

    fn action(
        scenario: &dyn Scenario,
        rng: &mut Rng,
        aggregate: usize,
        aggregates: usize,
        is_open: bool,
    ) -> Action {
        match rng.u8(0..100) {
            0..70 => {
                let has_key = rng.u8(0..3) == 0;
                Action::Send {
                    aggregate,
                    command: scenario.draw_command(rng),
                    has_key,
                    is_conditional: rng.u8(0..5) == 0,
                    has_cause: rng.u8(0..4) == 0,
                    caller: (!is_open).then(|| rng.u8(0..CALLERS)),
                    is_key_shared: has_key && !is_open && rng.u8(0..3) == 0,
                    copies: if has_key { rng.usize(1..4) } else { 1 },
                }
            }
            70..76 => Self::opening(scenario, rng, aggregate, is_open),
            76..80 => Action::Other {
                aggregate: aggregates + rng.usize(0..OTHERS),
                events: rng.usize(1..25),
            },
            80..84 => Action::Poison {
                aggregate: rng.usize(0..aggregates),
                damage: Self::damage(scenario, rng),
                further_rows: rng.usize(0..6),
            },
            84..88 => Action::Intrude {
                aggregate,
                foreign: rng.bool(),
            },
            88..94 => Action::Reshard {
                table: rng.bool(),
                split: rng.u8(0..3) > 0,
            },
            94..96 => Action::Operate(Self::operation(rng, aggregate)),
            96 => Action::DamageCursor {
                aggregate,
                damage: CURSOR_DAMAGES[rng.usize(0..CURSOR_DAMAGES.len())],
            },
            97..99 => Action::DamageView { aggregate },
            _ => Action::Pause(rng.u64(1..20_000)),
        }
    }
}
