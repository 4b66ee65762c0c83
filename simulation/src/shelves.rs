//! A small domain for the engine's own tests: a shelf of one article, with a command that leads to no event or to
//! two.

use millrace_core::{Attribute, Attributes, Domain, Project, Refusal, StoredRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Rng;
use super::scenario::{Command as Sent, FoldByDomain, RowDamage, Scenario};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shelves;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Command {
    Stock {
        articles: u32,
    },
    Take {
        articles: u32,
    },
    /// Takes all articles and counts: no event for an empty shelf, otherwise two events.
    Clear {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
pub(crate) enum Event {
    Stocked { articles: u32 },
    Taken { articles: u32 },
    Counted {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shelf {
    articles: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum PublicEvent {
    ShelfStocked { articles: u32 },
    ArticlesTaken { articles: u32 },
    ShelfCounted {},
}

impl Domain for Shelves {
    const COLLECTION: &'static str = "shelves";
    const ID: &'static str = "shelfId";
    const OPENS: &'static str = "stock";
    const BEGINS: &'static str = "Stocked";
    const BEGINS_PUBLIC: &'static str = "ShelfStocked";

    type Command = Command;
    type Event = Event;
    type State = Shelf;
    type PublicEvent = PublicEvent;
    type Context = ();
    type Accepted = Shelf;

    fn decide(&self, state: Option<&Shelf>, command: Command) -> Result<Vec<Event>, Refusal> {
        match (command, state) {
            (Command::Stock { articles }, None) => Ok(vec![Event::Stocked { articles }]),
            (Command::Stock { .. }, Some(_)) => {
                Err(Refusal::conflict("shelf-stocked", "it is stocked already"))
            }
            (Command::Take { .. } | Command::Clear {}, None) => Err(Self::not_found()),
            (Command::Take { articles }, Some(state)) if articles > state.articles => Err(
                Refusal::rule("not-enough-articles", "there are not so many"),
            ),
            (Command::Take { articles }, Some(_)) => Ok(vec![Event::Taken { articles }]),
            (Command::Clear {}, Some(Shelf { articles: 0 })) => Ok(Vec::new()),
            (Command::Clear {}, Some(Shelf { articles })) => Ok(vec![
                Event::Taken {
                    articles: *articles,
                },
                Event::Counted {},
            ]),
        }
    }

    fn evolve(state: Option<Shelf>, event: &Event) -> Option<Shelf> {
        match (event, state) {
            (Event::Stocked { articles }, None) => Some(Shelf {
                articles: *articles,
            }),
            (Event::Taken { articles }, Some(state)) => Some(Shelf {
                articles: state.articles.saturating_sub(*articles),
            }),
            (Event::Stocked { .. } | Event::Counted {}, state)
            | (Event::Taken { .. }, state @ None) => state,
        }
    }

    fn publish((): &mut (), event: &Event) -> Option<PublicEvent> {
        Some(match *event {
            Event::Stocked { articles } => PublicEvent::ShelfStocked { articles },
            Event::Taken { articles } => PublicEvent::ArticlesTaken { articles },
            Event::Counted {} => PublicEvent::ShelfCounted {},
        })
    }

    fn accepted(shelf: &Shelf) -> Shelf {
        shelf.clone()
    }
}

impl Project for Shelves {
    type View = Shelf;
    type Entry = ();
    const HISTORY: &'static str = "events";

    fn project(before: Option<&Shelf>, event: &PublicEvent) -> (Shelf, ()) {
        let articles = before.map_or(0, |shelf| shelf.articles);
        let articles = match *event {
            PublicEvent::ShelfStocked { articles } => articles,
            PublicEvent::ArticlesTaken { articles: taken } => articles.saturating_sub(taken),
            PublicEvent::ShelfCounted {} => articles,
        };
        (Shelf { articles }, ())
    }

    fn not_found() -> Refusal {
        Refusal::unknown("shelf-not-found", "there is no such shelf")
    }
}

impl Scenario for Shelves {
    type Domain = Self;
    type Expectation = FoldByDomain<Self>;

    fn domain(&self) -> Self {
        Self
    }

    fn expectation(&self) -> FoldByDomain<Self> {
        FoldByDomain::new(Self)
    }

    fn draw_opening(&self, rng: &mut Rng) -> Sent {
        Sent {
            name: "stock",
            body: json!({ "articles": rng.u32(0..1_000) }),
        }
    }

    fn draw_command(&self, rng: &mut Rng) -> Sent {
        if rng.u8(0..20) == 0 {
            return Sent {
                name: "clear",
                body: json!({}),
            };
        }
        taking(rng.u64(0..30))
    }

    fn variation_of(&self, command: &Sent) -> Sent {
        taking(command.body["articles"].as_u64().unwrap_or(0) + 1)
    }

    fn accepted_command(&self) -> Sent {
        taking(0)
    }

    fn leads_to(&self, command: &Sent, rows: &[&Attributes]) -> Result<(), String> {
        let types: Vec<Option<&Attribute>> = rows.iter().map(|row| row.get("Type")).collect();
        let (taken, counted) = (Attribute::text("Taken"), Attribute::text("Counted"));
        let stocked = Attribute::text("Stocked");
        let is_right = match command.name {
            "clear" => types.is_empty() || types == [Some(&taken), Some(&counted)],
            name => {
                let expected = if name == "stock" { &stocked } else { &taken };
                let articles = command.body["articles"].as_u64().unwrap_or(0);
                types == [Some(expected)]
                    && rows[0].get("Articles") == Some(&Attribute::number(articles))
            }
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("{types:?}"))
        }
    }

    fn is_readable(&self, row: &Attributes) -> bool {
        StoredRow::read(self, row).is_ok()
    }

    fn row_damages(&self) -> &'static [RowDamage] {
        &[RowDamage {
            name: "NoArticles",
            apply: |row| drop(row.remove("Articles")),
        }]
    }

    fn other_opening(&self) -> Attributes {
        row("Stocked", 1_000_000)
    }

    fn other_event(&self, version: u64) -> Attributes {
        row("Taken", version % 7)
    }
}

fn taking(articles: u64) -> Sent {
    Sent {
        name: "take",
        body: json!({ "articles": articles }),
    }
}

fn row(row_type: &str, articles: u64) -> Attributes {
    [
        ("Type", Attribute::text(row_type)),
        ("Articles", Attribute::number(articles)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
