//! The edge: a whole process. Builds the doors of a real node, opens its ports, waits for a signal.
//!
//! Everything of the node runs on one current-thread tokio runtime (see [`dunlin_transport::quic`] for why);
//! the store has threads of its own.
// This file stands on the operating system, as its name says.
#![allow(clippy::disallowed_methods)]

mod check;
mod log;
mod resolve;
mod stop;

pub use check::{Findings, check};
pub(crate) use log::lines_lost;

use crate::admin;
use crate::client::listener::ClientListener;
use crate::config::Config;
use crate::identity;
use crate::node::{Node, NodeParts, StoreMode};
use crate::runtime::TokioRuntime;
use crate::show::AdminDoor;
use anyhow::Context;
use dunlin_storage::fs::OsFs;
use dunlin_transport::quic::{QuicOptions, QuicTransport};
use dunlin_transport::tls::TlsIdentity;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stop::Stop;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, rustls};

/// Longest wait for clients' last answers at a stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// How long a process that ends waits for whoever reads its log.
const LOG_WITHIN: Duration = Duration::from_secs(2);

/// Runs a node until SIGTERM or SIGINT (with `until_input_ends` also until standard input ends, which it does when the
/// process that holds its other end is gone, however that came about), then stops it in order. Errors are for a person.
pub fn serve(file: &Path, until_input_ends: bool) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    log::start(&config.log)?;
    abort_on_panic();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = tokio.block_on(run(config, until_input_ends));
    // Tasks that were told to end are not waited for.
    tokio.shutdown_background();
    log::flush(LOG_WITHIN);
    done
}

/// A panic is a defect: the process must not go on in a state that nobody thought of.
fn abort_on_panic() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "panic: the process ends at once");
        log::flush(LOG_WITHIN);
        previous(panic);
        std::process::abort();
    }));
}

async fn run(config: Config, until_input_ends: bool) -> anyhow::Result<()> {
    let mut stop = Stop::new(until_input_ends)?;
    let Some(config) = stop.unless_told(resolve::addresses(config)).await else { return Ok(()) };
    let server = Server::start(config?)?;
    server.until(stop.told()).await
}

/// A node with its ports.
pub struct Server {
    /// The node.
    pub node: Arc<Node>,
    /// Where clients are heard.
    pub client_addr: SocketAddr,
    /// Where operators are heard.
    pub admin_addr: SocketAddr,
    transport: Arc<QuicTransport>,
    listener: ClientListener,
    admin: tokio::net::TcpListener,
    door: Arc<AdminDoor>,
}

impl Server {
    /// Opens the ports and starts the node; names are resolved. Must be called on the runtime that is to run it.
    pub fn start(config: Config) -> anyhow::Result<Server> {
        let dir = &config.node.data_dir;
        let fs = OsFs::new(dir).map_err(|error| identity::unusable(dir, error))?;
        let runtime = Arc::new(TokioRuntime::new());
        let internode: SocketAddr = parse("internode.address", &config.internode.address)?;
        let advertise = match config.internode.advertise.as_str() {
            "" => None,
            address => Some(parse("internode.advertise", address)?),
        };
        let paths = &config.internode;
        let tls = TlsIdentity::from_files(&paths.ca, &paths.certificate, &paths.key).context(
            "[internode] certificates (make them with `dunlin certs init` and `dunlin certs issue`)",
        )?;
        same_name(&config, tls.name())?;
        let client_tls = if config.client.tls { Some(acceptor(&config)?) } else { None };
        let client: SocketAddr = parse("client.address", &config.client.address)?;
        let admin_address: SocketAddr = parse("admin.address", &config.admin.address)?;
        let transport = Arc::new(
            QuicTransport::bind(QuicOptions { listen: internode, advertise, tls })
                .context("internode.address")?,
        );
        let admin = std::net::TcpListener::bind(admin_address)
            .with_context(|| format!("cannot listen on admin.address {admin_address}"))?;
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        let node = Node::start(NodeParts {
            config,
            runtime: runtime.clone(),
            fs: Arc::new(fs),
            transport: transport.clone(),
            store_mode: StoreMode::Threads,
        })?;
        let listener = ClientListener::bind(client, node.clients.clone(), client_tls)
            .with_context(|| format!("cannot listen on client.address {client}"))?;
        let (client_addr, admin_addr) = (listener.local_addr()?, admin.local_addr()?);
        tracing::info!(client = %client_addr, admin = %admin_addr, internode = %internode, "ports are open");
        let door = Arc::new(AdminDoor::new(node.clone(), Some(runtime), Some(transport.clone())));
        Ok(Server { node, client_addr, admin_addr, transport, listener, admin, door })
    }

    /// Serves until `stop` ends, then drains clients and stops the node.
    pub async fn until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Server { node, transport, listener, admin, door, .. } = self;
        let (drain, draining) = watch::channel(false);
        let requests_max = node.config.limits.admin_requests;
        let admin = tokio::spawn(admin::serve(admin, door, requests_max));
        let clients = tokio::spawn(listener.serve(draining, DRAIN_WITHIN));
        stop.await;
        tracing::info!("stopping");
        node.drain();
        // Nobody listens any more only if the listener has ended already.
        let _ = drain.send(true);
        let _ = clients.await;
        node.stop().await;
        transport.closed().await;
        admin.abort();
        Ok(())
    }
}

fn same_name(config: &Config, certified: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        certified == config.node.name,
        "node.name is {:?}, but internode.certificate names {certified:?}: they have to be the same",
        config.node.name
    );
    Ok(())
}

fn parse(key: &str, address: &str) -> anyhow::Result<SocketAddr> {
    address.parse().with_context(|| format!("{key} = {address:?}"))
}

/// TLS for clients: the server's certificate only.
fn acceptor(config: &Config) -> anyhow::Result<TlsAcceptor> {
    let pick = |own: &std::path::PathBuf, internode: &std::path::PathBuf| {
        if own.as_os_str().is_empty() { internode.clone() } else { own.clone() }
    };
    let certificate = pick(&config.client.certificate, &config.internode.certificate);
    let key = pick(&config.client.key, &config.internode.key);
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("client.certificate {}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("client.key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .context("client.certificate and client.key")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
