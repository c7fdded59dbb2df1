//! One HTTP request per connection, nothing hidden.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};

/// Longer than a poll is held.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

/// An error is a connection that was refused, or closed before the answer was complete.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    request_over(stream, method, target, headers, body).await
}

/// A request whose body is sent only after `between`, which begins when the server has said that it wants it.
pub(crate) async fn request_with_late_body(
    address: SocketAddr,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
    between: impl Future<Output = ()>,
) -> std::io::Result<Answer> {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let headers = [headers, &[("Expect", "100-continue")]].concat();
    let mut stream = TcpStream::connect(address).await?;
    let head = head_of(address, method, target, &headers, body);
    stream.write_all(head.as_bytes()).await?;
    let mut go_on = [0; GO_ON.len()];
    timeout(PATIENCE, stream.read_exact(&mut go_on))
        .await
        .unwrap_or_else(|_| panic!("{method} {target}: its body is not asked for"))?;
    assert_eq!(go_on.as_slice(), GO_ON);
    between.await;
    answer_to(stream, body.as_bytes(), &format!("{method} {target}")).await
}

/// A connection from this address of loopback.
pub(crate) async fn connect_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// The same over a connection that is there.
pub(crate) async fn request_over(
    stream: TcpStream,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let address = stream.peer_addr()?;
    let text = head_of(address, method, target, headers, body) + body;
    answer_to(stream, text.as_bytes(), &format!("{method} {target}")).await
}

fn head_of(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut text =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    let length = body.len().to_string();
    text.extend(["Content-Length: ", &length, "\r\n\r\n"]);
    text
}

/// Sends `text` and reads all that comes.
async fn answer_to(stream: TcpStream, text: &[u8], request: &str) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = BufReader::new(stream);
        stream.write_all(text).await?;
        let mut answer = Vec::new();
        // What follows a 101 is no HTTP.
        while !(answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n")) {
            let mut byte = [0];
            if stream.read(&mut byte).await? == 0 {
                break;
            }
            answer.push(byte[0]);
        }
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| panic!("no answer to {request}"))?;
    parse(&String::from_utf8(answer).unwrap())
        .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    };
    match answer.header("content-length") {
        Some(length) if length.parse() != Ok(body.len()) => return None,
        Some(_) => {}
        None if answer.header("transfer-encoding") == Some("chunked") => {
            answer.body = unchunked(body)?;
        }
        None => {}
    }
    Some(answer)
}

fn unchunked(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..length)?);
        body = rest.get(length + 2..)?;
    }
}
