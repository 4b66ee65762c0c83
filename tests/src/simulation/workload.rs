//! What a seed's clients and strangers do, drawn before anything runs, so that a prefix of it is a
//! shorter history of the same kind.

use fastrand::Rng;
use millrace_cli::args::Model;

use super::days::MAPPINGS;
use super::operators::{CURSOR_DAMAGES, CursorDamage, Operation};
use super::queries::Question;

/// Something that somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open an account, with an `Idempotency-Key` or without, in a currency or the default one.
    Open {
        account: usize,
        currency: Option<&'static str>,
        has_key: bool,
        /// Who sends it, where the API authenticates its callers.
        caller: Option<u8>,
    },
    /// Credit or withdraw.
    Move {
        account: usize,
        command: &'static str,
        amount: u64,
        has_key: bool,
        /// Whether it is to count for the state that the client saw last.
        is_conditional: bool,
        /// Whether it says what has caused it.
        has_cause: bool,
        /// Who sends it, where the API authenticates its callers.
        caller: Option<u8>,
        /// Whether another caller uses the same key at the same time for another command.
        is_key_shared: bool,
        /// How often it is sent at once.
        copies: usize,
    },
    /// An older producer writes an account by itself.
    Older { account: usize, events: usize },
    /// Somebody damages an account, and writes some rows behind the damage.
    Poison {
        account: usize,
        damage: Damage,
        behind: usize,
    },
    /// Somebody damages a view, and an operator replaces it soon after.
    DamageView { account: usize },
    /// Somebody mends what is damaged.
    Repair { account: usize },
    /// A stranger puts something on the domain stream.
    Intrude { account: usize, foreign: bool },
    /// A stream's shards change.
    Reshard { table: bool, split: bool },
    /// A long account of an older producer is there before the stream.
    Legacy {
        account: usize,
        events: u64,
        is_notified: bool,
    },
    /// An older producer opens many accounts at once.
    Crowd { accounts: usize },
    /// A client asks the reader.
    Query { account: usize, question: Question },
    /// An operator runs a command.
    Operate(Operation),
    /// An account's cursor gets damaged.
    DamageCursor {
        account: usize,
        damage: CursorDamage,
    },
    /// Somebody disables a mapping, until days have passed or all is done.
    Disable { mapping: usize },
    /// So many days pass.
    Days(u64),
    /// Nobody does anything for so many milliseconds.
    Pause(u64),
}

/// How a row is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    TextAmount,
    FractionalAmount,
    BoolAmount,
    NoAmount,
    NoType,
    NumberType,
    UnknownType,
    NoTimestamp,
    WrongSequence,
    FutureSchema,
    FractionalVersion,
    /// The row isn't there, and the one behind it is.
    Hole,
}

const DAMAGES: [Damage; 12] = [
    Damage::TextAmount,
    Damage::FractionalAmount,
    Damage::BoolAmount,
    Damage::NoAmount,
    Damage::NoType,
    Damage::NumberType,
    Damage::UnknownType,
    Damage::NoTimestamp,
    Damage::WrongSequence,
    Damage::FutureSchema,
    Damage::FractionalVersion,
    Damage::Hole,
];

/// What clients ask for. Most take the default.
const CURRENCIES: [Option<&str>; 6] = [None, None, None, Some("EUR"), Some("USD"), Some("JPY")];

/// How many callers there are, where the API authenticates them.
pub(crate) const CALLERS: u8 = 3;

/// How many accounts an older producer may write. They come behind the others.
const OLDER: usize = 3;

/// A seed's workload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) actions: Vec<Action>,
    /// How many take from the actions side by side.
    pub(crate) clients: usize,
    /// Whether there is more of something than fits one page, call or batch.
    pub(crate) is_large: bool,
}

impl Workload {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let hot = rng.usize(1..4);
        let accounts = hot + rng.usize(2..10);
        let is_open = rng.bool();
        let mut actions = Vec::new();
        for account in 0..accounts {
            if account < hot || rng.bool() {
                actions.push(Self::opening(rng, account, is_open));
            }
        }
        for _ in 0..rng.usize(15..90) {
            let account = if rng.u8(0..10) < 7 {
                rng.usize(0..hot)
            } else {
                rng.usize(0..accounts + OLDER)
            };
            actions.push(Self::action(rng, account, accounts, is_open));
        }
        // What is damaged is mended sooner or later, more often than not.
        for index in (0..actions.len()).rev() {
            if let Action::Poison { account, .. } = actions[index]
                && rng.u8(0..3) > 0
            {
                let later = rng.usize(index + 1..=actions.len());
                actions.insert(later, Action::Repair { account });
            }
        }
        for _ in 0..rng.usize(0..8) {
            let query = Action::Query {
                account: rng.usize(0..accounts),
                question: Self::question(rng),
            };
            actions.insert(rng.usize(0..=actions.len()), query);
        }
        let is_large = rng.u8(0..20) == 0;
        if is_large {
            let large = if rng.bool() {
                Action::Legacy {
                    account: accounts + OLDER,
                    events: rng.u64(1_200..3_000),
                    is_notified: rng.bool(),
                }
            } else {
                Action::Crowd {
                    accounts: rng.usize(101..700),
                }
            };
            actions.insert(0, large);
        }
        if rng.u8(0..6) == 0 {
            let days = rng.usize(0..=actions.len());
            actions.insert(days, Action::Days(rng.u64(1..9)));
            if rng.u8(0..3) > 0 {
                let mapping = rng.usize(0..MAPPINGS.len());
                actions.insert(rng.usize(0..=days), Action::Disable { mapping });
            }
        }
        Self {
            actions,
            clients: rng.usize(1..6),
            is_large,
        }
    }

    fn question(rng: &mut Rng) -> Question {
        match rng.u8(0..3) {
            0 => Question::View {
                at_least: rng.bool().then(|| rng.u64(0..3)),
            },
            1 => Question::Transactions {
                limit: rng.u64(1..8),
            },
            _ => Question::BalanceAt {
                ago: rng.i64(0..60_000),
            },
        }
    }

    fn opening(rng: &mut Rng, account: usize, is_open: bool) -> Action {
        Action::Open {
            account,
            currency: CURRENCIES[rng.usize(0..CURRENCIES.len())],
            has_key: rng.bool(),
            caller: (!is_open).then(|| rng.u8(0..CALLERS)),
        }
    }

    fn operation(rng: &mut Rng, account: usize) -> Operation {
        match rng.u8(0..4) {
            0 => Operation::Redrive {
                account: rng.bool().then_some(account),
                reset_cursor: rng.bool(),
            },
            1 => Operation::Republish {
                account,
                from: rng.u64(1..6),
                is_resumed: rng.bool(),
            },
            2 => Operation::Rebuild {
                account,
                model: Model::Views,
            },
            _ => Operation::Rebuild {
                account,
                model: Model::History,
            },
        }
    }

    fn action(rng: &mut Rng, account: usize, accounts: usize, is_open: bool) -> Action {
        match rng.u8(0..100) {
            0..70 => {
                let has_key = rng.u8(0..3) == 0;
                Action::Move {
                    account,
                    command: if rng.u8(0..3) == 0 {
                        "withdraw"
                    } else {
                        "credit"
                    },
                    amount: rng.u64(1..500),
                    has_key,
                    is_conditional: rng.u8(0..5) == 0,
                    has_cause: rng.u8(0..4) == 0,
                    caller: (!is_open).then(|| rng.u8(0..CALLERS)),
                    is_key_shared: has_key && !is_open && rng.u8(0..3) == 0,
                    copies: if has_key { rng.usize(1..4) } else { 1 },
                }
            }
            70..76 => Self::opening(rng, account, is_open),
            76..80 => Action::Older {
                account: accounts + rng.usize(0..OLDER),
                events: rng.usize(1..25),
            },
            80..84 => Action::Poison {
                account: rng.usize(0..accounts),
                damage: DAMAGES[rng.usize(0..DAMAGES.len())],
                behind: rng.usize(0..6),
            },
            84..88 => Action::Intrude {
                account,
                foreign: rng.bool(),
            },
            88..94 => Action::Reshard {
                table: rng.bool(),
                split: rng.u8(0..3) > 0,
            },
            94..96 => Action::Operate(Self::operation(rng, account)),
            96 => Action::DamageCursor {
                account,
                damage: CURSOR_DAMAGES[rng.usize(0..CURSOR_DAMAGES.len())],
            },
            97..99 => Action::DamageView { account },
            _ => Action::Pause(rng.u64(1..20_000)),
        }
    }
}
