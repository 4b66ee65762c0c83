//! Tests `examples/orders/` as a repository of its own: copies it out of this one, builds it with the packed
//! crates and constructs, and runs its tests, which deploy it to a local stack.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::node;
use millrace_tests::outside::{
    Outside, copy_files, locked, pack, root, run, target, use_packed, write,
};

#[tokio::test]
async fn orders_pass_their_tests_with_the_packed_crates_and_constructs() -> Result<()> {
    let root = root()?;
    let target = target(&root);
    node::set_up(&Workspace::at(&root), &Progress::Silent).await?;
    let packed = pack(&root, &target)?;

    let outside = Outside::take(&root, "orders")?;
    let example = root.join("examples/orders");
    copy_files(&example, &outside.folder)?;
    let patch = fs::read(packed.join("config.toml"))?;
    write(&outside.folder.join(".cargo/config.toml"), &patch)?;
    use_packed(&outside.folder.join("infra/package.json"), &packed)?;
    node::set_up(&Workspace::at(&outside.folder), &Progress::Silent).await?;
    let infra = outside.folder.join("infra");
    run(Command::new("npm")
        .args(["run", "check"])
        .current_dir(infra))?;
    let shown = run(Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--offline", "--locked"])
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&outside.folder))?;
    for test in [
        "orders_pass_through_every_function_and_every_command ... ok",
        "every_function_processes_the_completion_of_an_order ... ok",
        "every_property_holds_under_every_fault",
    ] {
        ensure!(shown.contains(test), "no {test} in\n{shown}");
    }
    Ok(())
}

/// With other packages, the example would be built with versions that this repository's tests don't use.
#[test]
fn the_example_locks_the_same_packages() -> Result<()> {
    let root = root()?;
    let ours = locked(&root.join("Cargo.lock"))?;
    let example = locked(&root.join("examples/orders/Cargo.lock"))?;
    let own = |package: &&String| package.contains("\"orders-");
    let others: Vec<_> = example.difference(&ours).filter(|it| !own(it)).collect();
    ensure!(others.is_empty(), "only in the example: {others:?}");
    ensure!(example.len() > 100, "{example:?}");
    Ok(())
}
