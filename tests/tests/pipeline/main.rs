//! The whole pipeline on the local stack: the real functions, deployed by the real CDK app.
//!
//! The stack has its own port and state folder. The first scenario that runs starts it, and it is stopped
//! after all have ended, also if they fail. The scenarios share it, run concurrently, and use only their
//! own accounts.
//!
//! Retries, partial batches, failure destinations and throttling are not covered, because the emulator
//! differs from AWS in them. The deterministic simulation covers them.

mod bad_input;
mod conditions;
mod idempotency;
mod journal;
mod lake;
mod linearizable;
mod load;
mod older_layout;
mod pipeline;
mod poison;
mod queries;
mod tables;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use millrace_local_stack::stack::LocalStack;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use pipeline::Pipeline;

/// What the scenarios share.
struct Shared {
    runtime: Runtime,
    stack: OnceCell<(LocalStack, Pipeline)>,
}

impl Shared {
    fn run(&self, scenario: impl AsyncFnOnce(&Pipeline) -> Result<()>) -> Result<(), Failed> {
        self.runtime
            .block_on(async {
                let (_, pipeline) = self.stack.get_or_try_init(pipeline::start).await?;
                scenario(pipeline).await
            })
            .map_err(|error| Failed::from(format!("{error:?}")))
    }

    fn stop(self) -> Result<()> {
        let Self { runtime, stack } = self;
        let stopped = match stack.into_inner() {
            Some((stack, _)) => stack.stop(),
            None => Ok(()),
        };
        runtime.shutdown_background();
        stopped
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let shared = Arc::new(Shared {
        runtime: Runtime::new().expect("threads can be started"),
        stack: OnceCell::new(),
    });
    macro_rules! trials {
        ($($scenario:path),* $(,)?) => {
            vec![$({
                let shared = Arc::clone(&shared);
                Trial::test(stringify!($scenario), move || {
                    shared.run(async |pipeline| $scenario(pipeline).await)
                })
            }),*]
        };
    }
    let mut trials = trials![
        load::every_accepted_command_is_one_event_everywhere,
        idempotency::one_key_at_once_appends_one_event,
        idempotency::copies_with_a_precondition_get_one_outcome,
        conditions::writer::one_of_two_appends_takes_a_version,
        conditions::writer::one_of_two_appends_takes_a_key,
        conditions::writer::settings_are_those_of_the_first_start,
        older_layout::rows_of_an_older_producer_flow_and_are_continued,
        poison::a_malformed_row_blocks_its_account_alone,
        bad_input::bad_input_is_answered_and_appends_nothing,
        queries::queries_show_what_was_accepted,
        queries::athena_answers_from_the_lake,
        queries::athena_returns_times,
        tables::a_tag_on_each_table_contains_its_role,
        conditions::cursor::saves_that_race_leave_the_later_cursor_and_no_lost_block,
        conditions::cursor::a_reset_changes_only_the_cursor_that_was_read,
        conditions::view::one_of_two_writers_of_a_view_succeeds,
        conditions::view::a_view_that_is_another_is_not_written_over,
        conditions::view::a_history_item_that_is_another_is_not_removed,
        conditions::lease::one_of_several_runs_has_the_lease,
        linearizable::what_many_clients_saw_fits_one_order,
    ];
    trials.push(Trial::test(
        "linearizable::the_checker_finds_what_is_wrong",
        || {
            linearizable::the_checker_finds_what_is_wrong()
                .map_err(|error| Failed::from(format!("{error:?}")))
        },
    ));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let shared = Arc::into_inner(shared).expect("all scenarios have ended");
    if let Err(error) = shared.stop() {
        eprintln!("the local stack was not stopped: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
