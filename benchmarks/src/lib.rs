//! The functions seen from outside: a function's release binary runs as on Lambda, with a stand-in of Lambda's
//! runtime API and stand-ins of the AWS services, whose latencies and failures are set.
//!
//! * [`batch`]: the invocations' events;
//! * [`services`]: the stand-ins of DynamoDB and Kinesis, which count calls and check the order on the stream;
//! * [`runtime_api`]: the stand-in of Lambda's runtime API;
//! * [`function`]: the process of a function, its CPU time and memory;
//! * [`http`]: the HTTP server of the stand-ins.
//!
//! The bench `from_outside` measures with them: `cargo bench -p millrace-benchmarks`.

pub mod batch;
pub mod function;
pub mod http;
pub mod runtime_api;
pub mod services;
