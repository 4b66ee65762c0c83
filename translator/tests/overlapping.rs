//! Puts overlap: aggregates don't wait for each other's puts, and share puts all the same.

use std::time::Duration;

use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::testing::in_virtual_time;
use millrace_translator::ports::MAX_RECORDS;
use millrace_translator::testing::TestServices;

type Services = TestServices<Accounts>;

/// How long a put takes usually.
const USUAL: Duration = Duration::from_millis(12);

fn id(account: usize) -> String {
    format!("a{account:05}")
}

/// Publishes so many events of so many accounts within this time.
async fn published(
    (accounts, events): (usize, usize),
    time: Duration,
    prepare: impl FnOnce(&Services),
) -> Services {
    let domain = Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    let services = TestServices::new(domain);
    let mut all = vec![Event::AccountCreated {
        currency: Currency::stored("SEK").expect("valid"),
    }];
    all.resize(
        events,
        Event::BalanceCredited {
            amount: Amount::new(1).expect("valid"),
        },
    );
    let mut rows = Vec::new();
    for event in &all {
        for account in 0..accounts {
            rows.extend(services.append(&id(account), std::slice::from_ref(event)));
        }
    }
    services.world().put_time = USUAL;
    prepare(&services);
    services.translate_within(&rows, time).await;
    services
}

/// How many accounts have all of their events on the stream, in order.
fn completed(services: &Services, (accounts, events): (usize, usize)) -> usize {
    let all: Vec<u64> = (1..=events as u64).collect();
    (0..accounts)
        .filter(|account| services.sequences(&id(*account)) == all)
        .count()
}

#[test]
fn a_put_that_hangs_delays_only_the_aggregates_whose_events_it_contains() {
    in_virtual_time(async {
        let size = (MAX_RECORDS + 100, 5);
        let services = published(size, Duration::from_secs(2), |services| {
            let mut world = services.world();
            world.slow.insert(id(0), Duration::from_mins(1));
        })
        .await;
        assert_eq!(services.sequences(&id(0)), [0_u64; 0]);
        assert_eq!(completed(&services, size), 100);
    });
}

#[test]
fn several_puts_are_in_flight_if_they_are_full_or_slow_and_four_at_most() {
    in_virtual_time(async {
        let size = (2 * MAX_RECORDS, 1);
        let services = published(size, Duration::from_secs(2), |_| {}).await;
        assert_eq!(completed(&services, size), size.0);
        assert_eq!(services.world().puts, [MAX_RECORDS; 2]);
        assert_eq!(services.world().most_puts, 2);

        let size = (6 * MAX_RECORDS, 1);
        let services = published(size, Duration::from_secs(10), |services| {
            services.world().put_time = Duration::from_secs(2);
        })
        .await;
        assert_eq!(completed(&services, size), size.0);
        assert_eq!(services.world().most_puts, 4);
    });
}

#[test]
fn aggregates_share_their_puts_if_the_stream_answers_as_usual() {
    in_virtual_time(async {
        for (accounts, events, puts) in [(10, 100, 100), (400, 20, 20), (600, 5, 6)] {
            let size = (accounts, events);
            let services = published(size, Duration::from_secs(20), |_| {}).await;
            assert_eq!(completed(&services, size), accounts);
            assert_eq!(services.world().puts, vec![accounts * events / puts; puts]);
            assert_eq!(services.world().most_puts, 1);
        }
    });
}
