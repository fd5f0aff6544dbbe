//! Encrypted connections: which certificates are good, and that both ends know the channel by one name.

use gangline_transport::{
    BackoffSettings, CertPin, Stream, TlsDialer, TlsError, TlsServer, TransportSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Node, until};

fn server() -> TlsServer {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    TlsServer::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
}

/// Both ends of a connection, as far as they came.
async fn meet(
    server: &TlsServer,
    dialer: &TlsDialer,
) -> (Result<Stream, TlsError>, Result<Stream, TlsError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accept = async { server.accept(listener.accept().await.unwrap().0).await };
    let dial = async { dialer.connect("127.0.0.1", TcpStream::connect(addr).await.unwrap()).await };
    tokio::join!(accept, dial)
}

#[tokio::test]
async fn a_pinned_certificate_is_good_whatever_it_says() {
    let server = server();
    let dialer = TlsDialer::new(Some(server.pin())).unwrap();
    let (at_server, at_client) = meet(&server, &dialer).await;
    let (mut at_server, mut at_client) = (at_server.unwrap(), at_client.unwrap());
    assert!(at_client.channel().is_some());
    assert_eq!(at_server.channel(), at_client.channel());
    at_client.write_all(b"hello").await.unwrap();
    at_client.flush().await.unwrap();
    let mut told = [0; 5];
    at_server.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"hello");
    let (other, _) = meet(&server, &dialer).await;
    assert_ne!(other.unwrap().channel(), at_server.channel(), "each connection has a name of its own");
}

#[tokio::test]
async fn another_certificate_is_refused_with_both_pins() {
    let (server, pinned) = (server(), CertPin([7; 32]));
    let (at_server, at_client) = meet(&server, &TlsDialer::new(Some(pinned)).unwrap()).await;
    let error = at_client.unwrap_err();
    assert!(matches!(error, TlsError::WrongCertificate { found, .. } if found == server.pin()), "{error}");
    let told = error.to_string();
    assert!(told.contains(&pinned.to_string()) && told.contains(&server.pin().to_string()), "{told}");
    // In TLS 1.3 the server may be done before the client says no.
    if let Ok(mut stream) = at_server {
        assert!(stream.read_u8().await.is_err());
    }
}

#[tokio::test]
async fn a_certificate_of_its_own_needs_a_pin() {
    // A machine without authorities says so up front.
    if let Ok(dialer) = TlsDialer::new(None) {
        let (_, at_client) = meet(&server(), &dialer).await;
        let error = at_client.unwrap_err();
        assert!(error.to_string().contains("#sha256="), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let node = Node::start().await;
    let pin = CertPin([7; 32]);
    let settings = TransportSettings {
        backoff: BackoffSettings { first_ms: 1, max_ms: 20 },
        ..TransportSettings::default()
    };
    let bob = Node::with(settings).await;
    let url = format!("wss://{}/crdt-sync#sha256={pin}", node.addr).parse().unwrap();
    bob.transport.dial(url, Box::new(|| 0.0));
    until("bob keeps trying", || bob.peers().dial_failures >= 2).await;
    let error = bob.peers().peers[0].last_error.clone().unwrap_or_default();
    assert!(error.starts_with("no TLS there: "), "{error}");
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let refused =
        |cert: &str, key: &str| TlsServer::from_pem(cert.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    assert!(refused("", &key).contains("no certificate"));
    assert!(refused(&cert, "").contains("no private key"));
    assert!(refused(&cert, &other.signing_key.serialize_pem()).contains("cannot be used"));
}
