//! The node's certificate: from files that the settings name, or made on first start and kept in `tls.pem`.

use std::fs;
use std::io;
use std::path::Path;

use gangline_transport::TlsServer;

use crate::config::{Settings, TlsSettings};
use crate::failure::{Exit, Failure};
use crate::private_file::{make_private_dir, write_private};

/// The file inside the data directory: certificate and private key in PEM.
const FILE: &str = "tls.pem";

/// Reads, or makes, what `[tls]` asks for; nothing if it asks for nothing.
///
/// # Errors
/// When a file cannot be read, written or used.
pub(crate) fn open(settings: &Settings) -> Result<Option<TlsServer>, Failure> {
    match &settings.tls.value {
        None => Ok(None),
        Some(TlsSettings::Files { cert, key }) => {
            let server = TlsServer::from_pem(&read(cert)?, &read(key)?).map_err(|error| {
                let message = format!("{} and {}: {error}", cert.display(), key.display());
                unusable(message).hint("cert is the certificate chain and key its private key, both in PEM")
            })?;
            Ok(Some(server))
        }
        Some(TlsSettings::SelfSigned) => self_signed(settings).map(Some),
    }
}

fn self_signed(settings: &Settings) -> Result<TlsServer, Failure> {
    let dir = &settings.data_dir.value;
    let path = dir.join(FILE);
    let pem = match fs::metadata(&path) {
        Ok(metadata) => {
            check_mode(&path, &metadata)?;
            read(&path)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(settings, &path)?,
        Err(error) => return Err(unusable(format!("cannot read {}: {error}", path.display()))),
    };
    TlsServer::from_pem(&pem, &pem).map_err(|error| {
        unusable(format!("{}: {error}", path.display())).hint(
            "put it back from a copy; or move it away: the node makes another, and peers need new tickets or pins",
        )
    })
}

fn make(settings: &Settings, path: &Path) -> Result<Vec<u8>, Failure> {
    let listen = &settings.listen.value;
    let host = listen.rsplit_once(':').map_or(listen.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !host.is_empty() && !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| unusable(format!("cannot make a certificate for {host}: {error}")))?;
    let pem = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()).into_bytes();
    let written = make_private_dir(&settings.data_dir.value).and_then(|()| write_private(path, &pem));
    written.map_err(|error| unusable(format!("cannot write {}: {error}", path.display())))?;
    Ok(pem)
}

fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            let shown = path.display();
            let message = format!("{shown} has a private key and can be read by others (mode {mode:03o})");
            return Err(unusable(message).hint(format!(
                "chmod 600 {shown}; if others may have read it, move it away: the node makes another"
            )));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        unusable(format!("cannot read {}: {error}", path.display()))
            .hint("check the paths in [tls]; self_signed = true needs none")
    })
}

fn unusable(message: String) -> Failure {
    Failure::new(Exit::Failed, "certificate_unusable", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn settings(dir: &Path, text: &str) -> Settings {
        let flags = Flags { data_dir: Some(dir.join("data")), ..Flags::default() };
        Settings::resolve(&flags, &|_| None, Some(("gangline.toml", text))).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), "[tls]\nself_signed = true\n");
        let pin = open(&settings).unwrap().unwrap().pin();
        assert_eq!(open(&settings).unwrap().unwrap().pin(), pin);
        let path = settings.data_dir.value.join(FILE);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(open(&settings).unwrap_err().hint.unwrap().contains("chmod 600"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(&path, "nonsense").unwrap();
        assert!(open(&settings).unwrap_err().message.contains("no certificate"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }

    #[test]
    fn files_are_named_when_they_are_not_usable() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(&settings(dir.path(), "")).unwrap().is_none());
        let missing = settings(dir.path(), "[tls]\ncert = \"no.pem\"\nkey = \"no.key\"\n");
        assert!(open(&missing).unwrap_err().message.contains("no.pem"));
    }
}
