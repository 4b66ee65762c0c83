//! Reading one's own writes: a query waits a limited time for the sequence that it names.

use std::time::Duration;

use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::Budget;
use millrace_runtime::http::Response;
use millrace_runtime::testing::TestAmbient;
use tokio::time::Instant;

use crate::fixtures::{VIEW, assert_problem, body, get, history, model, project, reader, stub};

/// The longest wait that the API's documentation names.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);
const AMPLE: Duration = Duration::from_secs(10);

async fn look(model: &InMemoryReadModel, at_least: u64, budget: Duration) -> Response {
    look_with(TestAmbient::default(), model, at_least, budget).await
}

async fn look_with(
    ambient: TestAmbient,
    model: &InMemoryReadModel,
    at_least: u64,
    budget: Duration,
) -> Response {
    let mut reader = reader(model);
    reader.ambient = ambient;
    let request = get(&format!("{VIEW}?minSequence={at_least}"));
    reader.answer(&request, Budget::lasting(budget)).await
}

#[track_caller]
fn assert_shows(response: &Response, sequence: u64) {
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(body(response)["sequence"], sequence);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_there_is_taken_at_once() {
    let model = model(&history(&[0, 1, 2]));
    let started = Instant::now();
    for at_least in [0, 2, 3] {
        assert_shows(&look(&model, at_least, AMPLE).await, 3);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(model.views_read(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_sequence_a_missing_view_is_unknown_at_once() {
    let started = Instant::now();
    for model in [InMemoryReadModel::default(), stub()] {
        let response = look(&model, 0, AMPLE).await;
        assert_problem(&response, 404, "account-not-found");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_sequence_and_no_longer() {
    for before in [0, 1, 2] {
        let events = history(&[0, 1, 2]);
        let model = model(&events[..before]);
        let started = Instant::now();
        let projecting = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            project(&model, &events[before..]);
        };
        let (response, ()) = tokio::join!(look(&model, 3, AMPLE), projecting);
        assert_shows(&response, 3);
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(700), "{waited:?}");
        assert!(waited <= Duration::from_secs(1), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn gives_up_after_the_longest_wait() {
    // The pauses grow, so there are fewer reads than with pauses of the first length.
    for (fraction, looks) in [(0.0, 81), (0.5, 20), (0.999, 14)] {
        for model in [InMemoryReadModel::default(), stub(), model(&history(&[0]))] {
            let started = Instant::now();
            let ambient = TestAmbient::with_fraction(fraction);
            let response = look_with(ambient, &model, 2, AMPLE).await;
            assert_problem(&response, 503, "not-caught-up");
            let waited = started.elapsed();
            assert!(waited <= LONGEST_WAIT, "{waited:?}");
            assert!(waited >= LONGEST_WAIT.mul_f64(0.85), "{waited:?}");
            assert!(model.views_read() <= looks, "{}", model.views_read());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn never_waits_beyond_the_budget() {
    for (budget, looks) in [(300, 2..10), (0, 1..2)] {
        let budget = Duration::from_millis(budget);
        let model = InMemoryReadModel::default();
        let started = Instant::now();
        let response = look(&model, 1, budget).await;
        assert_problem(&response, 503, "not-caught-up");
        assert!(started.elapsed() <= budget);
        assert!(looks.contains(&model.views_read()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_wait() {
    let model = InMemoryReadModel::default();
    model.fail();
    let started = Instant::now();
    let response = look(&model, 1, AMPLE).await;
    assert_problem(&response, 503, "unavailable");
    assert_eq!(started.elapsed(), Duration::ZERO);
}
