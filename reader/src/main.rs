//! The reader's Lambda function.

use millrace_domain::Accounts;
use millrace_runtime::StartError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    millrace_reader::run::<Accounts>().await
}
