//! Tests the whole pipeline on the local stack. The CDK app deploys the functions as it does to AWS.
//!
//! The stack has its own port and state folder. The first scenario starts it, and it is stopped after the last
//! one, also if scenarios fail. The scenarios share the stack, run concurrently, and use only their own
//! accounts.
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
mod parquet;
mod pipeline;
mod poison;
mod queries;
mod restore;
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

/// The runtime and the stack, which all scenarios share.
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
        load::every_accepted_command_has_one_event_at_every_stage,
        idempotency::concurrent_commands_with_one_key_append_one_event,
        idempotency::duplicates_with_a_precondition_get_one_outcome,
        conditions::writer::one_of_two_appends_takes_a_version,
        conditions::writer::one_of_two_appends_takes_a_key,
        conditions::writer::settings_are_those_of_the_first_start,
        older_layout::legacy_rows_are_published_and_new_events_appended,
        restore::read_models_are_restored_from_the_lake,
        poison::a_malformed_row_blocks_its_account_alone,
        bad_input::invalid_requests_get_a_problem_and_append_nothing,
        queries::queries_return_the_accepted_state,
        queries::the_documents_of_the_contract_are_shown,
        queries::athena_returns_the_events_of_the_lake,
        queries::athena_has_the_types_of_the_catalogue,
        queries::athena_has_each_event_once_in_the_view,
        queries::athena_computes_as_on_aws,
        queries::athena_reads_parameters_as_literals,
        queries::athena_says_what_is_wrong,
        parquet::athena_reads_the_same_from_parquet,
        tables::a_tag_on_each_table_contains_its_role,
        conditions::cursor::concurrent_saves_keep_the_later_cursor_and_every_block,
        conditions::cursor::a_reset_changes_only_the_cursor_that_was_read,
        conditions::view::one_of_two_writers_of_a_view_succeeds,
        conditions::view::a_view_that_has_changed_is_not_overwritten,
        conditions::view::a_history_item_that_has_changed_is_not_removed,
        conditions::lease::one_of_several_runs_has_the_lease,
        linearizable::responses_to_concurrent_clients_are_linearizable,
    ];
    trials.push(Trial::test(
        "linearizable::the_checker_refuses_wrong_histories",
        || {
            linearizable::the_checker_refuses_wrong_histories()
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
