//! Whether a Redis answers that can be used, for the start and `fleetcast check`.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, Value};

use super::fault::RedisFault;
use super::link::connection_info;

/// Connects as the server would and sends HELLO and PING, in `within` all together. Gives `host:port`.
pub async fn ping(url: &str, within: Duration) -> Result<String, RedisFault> {
    let info = connection_info(url)?;
    let password = info.redis_settings().password().map(str::to_owned);
    let address = info.addr().to_string();
    let client = Client::open(info).map_err(|_| RedisFault::Url)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(within))
        .set_response_timeout(Some(within));
    let asked = async {
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let hello = redis::cmd("HELLO");
        let hello = hello.query_async::<Value>(&mut connection).await?;
        let ping = redis::cmd("PING");
        ping.query_async::<String>(&mut connection).await?;
        Ok(hello)
    };
    match tokio::time::timeout(within, asked).await {
        Ok(Ok(hello)) => RedisFault::of_hello(&hello).map_or(Ok(address), Err),
        Ok(Err(error)) => Err(RedisFault::of(&error, password.as_deref(), within)),
        Err(_) => Err(RedisFault::TimedOut(within)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What `ping` says of a server that answers HELLO so, and everything else with `+PONG`. `None`: with nothing at all.
    async fn pinged(hello: Option<&'static str>) -> Result<String, RedisFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = String::new();
            let mut buffer = [0; 4096];
            let mut answered = 0;
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
                let commands = seen.matches("\r\nHELLO\r\n").count()
                    + seen.matches("\r\nCLIENT\r\n").count()
                    + seen.matches("\r\nPING\r\n").count();
                while answered < commands {
                    let answer = match (answered, hello) {
                        (_, None) => "",
                        (0, Some(hello)) => hello,
                        _ => "+PONG\r\n",
                    };
                    drop(stream.write_all(answer.as_bytes()).await);
                    answered += 1;
                }
            }
            std::future::pending::<()>().await;
        };
        let url = format!("redis://reader:hush-hush@{address}/0");
        let within = if hello.is_some() {
            SECOND
        } else {
            Duration::from_millis(200)
        };
        tokio::select! {
            () = serve => unreachable!("it never ends"),
            answer = ping(&url, within) => answer,
        }
    }

    #[tokio::test]
    async fn errors_of_redis_are_described_without_the_password() {
        let good = "%1\r\n+proto\r\n:3\r\n";
        assert!(pinged(Some(good)).await.unwrap().starts_with("127.0.0.1:"));
        for (hello, expected) in [
            (
                "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
                RedisFault::PasswordWrong,
            ),
            (
                "-NOAUTH HELLO must be called with the client already authenticated\r\n",
                RedisFault::PasswordMissing,
            ),
            (
                "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `reader`, `hush-hush`, \r\n",
                RedisFault::Resp3,
            ),
            (
                "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'reader' 'hush-hush'\r\n",
                RedisFault::Resp3,
            ),
            (
                "-NOPROTO sorry, this protocol version is not supported.\r\n",
                RedisFault::Resp3,
            ),
        ] {
            assert_eq!(pinged(Some(hello)).await, Err(expected), "{hello}");
        }
        let refused = pinged(Some("-LOADING Redis is loading hush-hush\r\n")).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("loading") && !text.contains("hush"), "{text}");
        let silent = pinged(None).await.unwrap_err();
        assert!(matches!(silent, RedisFault::TimedOut(_)), "{silent}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_redis_is_reported() {
        for url in [
            "http://redis:6379",
            "redis:6379",
            "redis://",
            "redis://host:x",
        ] {
            assert_eq!(ping(url, SECOND).await, Err(RedisFault::Url), "{url}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for scheme in ["redis", "rediss"] {
            let error = ping(&format!("{scheme}://:hush@{address}"), SECOND).await;
            let text = error.unwrap_err().to_string();
            assert!(
                text.starts_with("it cannot be reached: ") && !text.contains("hush"),
                "{text}"
            );
        }
    }

    /// A server that speaks without TLS.
    #[tokio::test]
    async fn tls_with_a_server_that_has_none_is_an_error_and_no_panic() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.write_all(b"-ERR Protocol error\r\n").await);
            std::future::pending::<()>().await;
        };
        let url = format!("rediss://{address}");
        tokio::select! {
            () = serve => unreachable!("it never ends"),
            answer = ping(&url, SECOND) => assert!(answer.is_err()),
        }
    }
}
