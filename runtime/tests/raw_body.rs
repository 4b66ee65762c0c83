//! A function that reads its invocations' bytes, with the runtime API of a local server. An upgrade of
//! `lambda_runtime` that calls its services in another way fails here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_runtime::raw_body;

const IS_THE_FUNCTION: &str = "MILLRACE_TEST_IS_THE_FUNCTION";

/// The bodies of the invocations. None of them is JSON that `lambda_runtime` could parse and write again
/// without a change.
const BODIES: [&str; 3] = [" {\"a\" : 1.0}", "no JSON", "fails"];

/// The function: runs in the process that the test below starts. It returns its body's text and its
/// request's id.
#[tokio::test]
async fn the_function() {
    if std::env::var_os(IS_THE_FUNCTION).is_none() {
        return;
    }
    let echo = async |event: LambdaEvent<Bytes>| {
        let text = String::from_utf8(event.payload.to_vec()).expect("UTF-8");
        if text == "fails" {
            return Err("the handler's error".into());
        }
        Ok([text, event.context.request_id])
    };
    // It ends when the server closes its port.
    let ended = raw_body::run(echo).await;
    assert!(ended.is_err());
}

/// The path and the body of a request.
fn request(connection: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut line = String::new();
    connection.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = None;
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).ok()?;
        let header = header.trim_end().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().ok();
        }
    }
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body).ok()?;
    Some((path, String::from_utf8(body).ok()?))
}

fn invocation(number: usize, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nLambda-Runtime-Aws-Request-Id: r{number}\r\n\
         Lambda-Runtime-Deadline-Ms: 9999999999999\r\nLambda-Runtime-Invoked-Function-Arn: arn\r\n\r\n{body}"
    )
}

/// The runtime API: delivers the bodies, and returns the function's responses by their path.
fn serve(listener: &TcpListener) -> Vec<(String, String)> {
    let mut responses = Vec::new();
    let mut next = BODIES.iter().enumerate();
    while let Ok((connection, _)) = listener.accept() {
        let mut connection = BufReader::new(connection);
        while let Some((path, body)) = request(&mut connection) {
            let answer = if path.ends_with("/next") {
                let Some((number, body)) = next.next() else {
                    return responses;
                };
                invocation(number, body)
            } else {
                responses.push((path, body));
                "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
            };
            let written = connection.get_mut().write_all(answer.as_bytes());
            written.expect("the function reads");
        }
    }
    responses
}

#[test]
fn a_handler_gets_the_bytes_of_its_own_invocation() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut function = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_function"])
        .env(IS_THE_FUNCTION, "1")
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "function")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .spawn()
        .expect("started");
    let responses = serve(&listener);
    drop(listener);
    assert!(function.wait().expect("ended").success());

    let path =
        |number: usize, kind: &str| format!("/2018-06-01/runtime/invocation/r{number}/{kind}");
    let [first, second, failed] = &responses[..] else {
        panic!("one response each: {responses:?}");
    };
    for (number, response) in [first, second].into_iter().enumerate() {
        assert_eq!(response.0, path(number, "response"));
        let returned: [String; 2] = serde_json::from_str(&response.1).expect("JSON");
        assert_eq!(returned, [BODIES[number].to_owned(), format!("r{number}")]);
    }
    assert_eq!(failed.0, path(2, "error"));
    assert!(failed.1.contains("the handler's error"), "{}", failed.1);
}
