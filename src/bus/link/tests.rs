//! A server that answers what a test wants, and what the link makes of it.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::*;

/// What one is answered on which connection. `None`: as a good server would. Nothing: the same, too late.
type Answers = dyn Fn(u64, &[String]) -> Option<String> + Send + Sync;

/// All commands, with the number of their connection.
type SeenCommands = Arc<Mutex<Vec<(u64, Vec<String>)>>>;

struct ScriptedServer {
    address: std::net::SocketAddr,
    seen: SeenCommands,
}

impl ScriptedServer {
    async fn start(
        answers: impl Fn(u64, &[String]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = SeenCommands::default();
        let (answers, log): (Arc<Answers>, _) = (Arc::new(answers), seen.clone());
        let connections = TaskTracker::new();
        TaskTracker::new().spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(number, stream, answers.clone(), log.clone()));
            }
        });
        Self { address, seen }
    }

    fn link(&self) -> (Arc<Link>, DropGuard) {
        let url = format!("redis://{}", self.address);
        let (link, _) = Link::new(&url, IntakeSettings::default(), &Metrics::new()).unwrap();
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(link.clone().keep(stop.clone()));
        (link, stop.drop_guard())
    }

    /// Waits until a command came on a connection.
    async fn receives(&self, connection: u64, command: &str) {
        let wanted = |(on, seen): &(u64, Vec<String>)| {
            *on == connection && seen.join(" ").starts_with(command)
        };
        let came = async {
            while !lock(&self.seen).iter().any(wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(10), came).await;
        assert!(came.is_ok(), "{command}: {:?}", lock(&self.seen));
    }
}

async fn serve(number: u64, stream: TcpStream, answers: Arc<Answers>, seen: SeenCommands) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(command) = command(&mut read).await {
        lock(&seen).push((number, command.clone()));
        let mut answer = answers(number, &command).unwrap_or_else(|| good(&command));
        if answer.is_empty() {
            tokio::time::sleep(ANSWER + Duration::from_millis(300)).await;
            answer = good(&command);
        }
        drop(write.write_all(answer.as_bytes()).await);
    }
}

async fn command(read: &mut BufReader<OwnedReadHalf>) -> Option<Vec<String>> {
    let mut command = Vec::new();
    for _ in 0..length(read).await? {
        let mut word = vec![0; length(read).await? + 2];
        read.read_exact(&mut word).await.ok()?;
        command.push(String::from_utf8(word).ok()?.trim().to_owned());
    }
    Some(command)
}

async fn length(read: &mut BufReader<OwnedReadHalf>) -> Option<usize> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

fn good(command: &[String]) -> String {
    match command[0].as_str() {
        "HELLO" => "%2\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n".to_owned(),
        "PING" => "+PONG\r\n".to_owned(),
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            let kind = command[0].to_lowercase();
            let pushes = command[1..].iter().map(|channel| {
                let (kinds, names) = (kind.len(), channel.len());
                format!(">3\r\n${kinds}\r\n{kind}\r\n${names}\r\n{channel}\r\n:1\r\n")
            });
            pushes.collect()
        }
        _ => "+OK\r\n".to_owned(),
    }
}

async fn up(link: &Link) -> u64 {
    let mut state = link.state();
    let up = state.wait_for(LinkState::is_up);
    let up = tokio::time::timeout(Duration::from_secs(10), up).await;
    match &*up.expect("in time").unwrap() {
        LinkState::Up(epoch) => *epoch,
        LinkState::Down(fault) => unreachable!("{fault}"),
    }
}

fn channel(name: &str) -> Subscription {
    Subscription::Channel(name.into())
}

/// Redis does it all the same, after the channel is wanted again.
#[tokio::test]
async fn a_subscription_command_that_is_not_answered_ends_the_connection() {
    let late =
        |number, command: &[String]| (number == 1 && command[0] == "UNSUBSCRIBE").then(String::new);
    let server = ScriptedServer::start(late).await;
    let (link, _stop) = server.link();
    link.subscribe(channel("o1"));
    assert_eq!(up(&link).await, 1);
    link.unsubscribe(&channel("o1"));
    server.receives(1, "UNSUBSCRIBE o1").await;
    link.subscribe(channel("o1"));
    server.receives(2, "SUBSCRIBE o1").await;
    assert_eq!(up(&link).await, 2);
}

#[tokio::test]
async fn a_server_that_loads_its_file_is_not_there_yet() {
    let loading = |number, command: &[String]| {
        (number < 4 && command[0] == "PING").then(|| "-LOADING Redis is loading\r\n".to_owned())
    };
    let server = ScriptedServer::start(loading).await;
    let (link, _stop) = server.link();
    assert_eq!(up(&link).await, 4, "it was never up before");
}

#[tokio::test]
async fn two_refusals_of_one_replica_give_up_one_connection() {
    let replica = |number, command: &[String]| {
        (number == 1 && command[0] == "PUBLISH").then(|| "-READONLY a replica\r\n".to_owned())
    };
    let server = ScriptedServer::start(replica).await;
    let (link, _stop) = server.link();
    assert_eq!(up(&link).await, 1);
    let mut publish = redis::cmd("PUBLISH");
    publish.arg("c").arg("m");
    let mut pipeline = redis::pipe();
    pipeline.add_command(publish.clone());
    let refused = tokio::join!(
        link.ask::<u64>(&publish),
        link.ask_all::<Vec<u64>>(&pipeline)
    );
    assert_eq!(refused.0, Err(RedisFault::Replica));
    assert_eq!(refused.1, Err(RedisFault::Replica));
    server.receives(2, "PING").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(up(&link).await, 2);
}
